"""Questions about dropout, each answered by one command: docs/studies.md."""
