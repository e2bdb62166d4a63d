"""Run by alembic inside a transaction of `hub.storage.catalogue`; there is no command line for it."""

from alembic import context

from hub.storage.schema import metadata

connection = context.config.attributes["connection"]
# SQLite changes a table by copying it (batch mode); the caller's transaction spans all steps.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
