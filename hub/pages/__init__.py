"""The hub's pages: views, templates and static files."""
