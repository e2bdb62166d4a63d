"""Alembic's room: one file in `versions/` for each step of the catalogue's schema, run when it is opened."""
