"""What alembic runs around the steps: they go through the connection that ``upgrade`` was given."""

from alembic import context

from agentrun.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
