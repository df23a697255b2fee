"""The pictures of the family's pages: `python -m examples.gallery` draws them."""
