"""Whether a machine draws the masks that the stream promises: `python -m jdrop`."""
