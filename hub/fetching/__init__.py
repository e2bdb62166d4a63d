"""A listener without a page: a whole track from whoever has it, checked, opened, and written to a file."""
