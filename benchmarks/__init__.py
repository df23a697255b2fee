"""Measurements of jdrop. Each of them is run with `python -m benchmarks.<name>`."""
