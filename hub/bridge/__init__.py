"""The hub's part in the backbone: who holds what, and how well they answer."""
