"""Note beside a run whose agent asked for it, and find the runs that one asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """
    Add the column, empty, and its index.

    ``agentrun.store.parents`` fills it, in transactions of its own: in this one it would lock the
    rows of all runs until the last is filled, and MCP servers of the version before write to them.
    """
    length = sa.String(256)
    name = length.with_variant(sa.String(256, collation="C"), "postgresql")
    op.add_column("runs", sa.Column("parent_uid", name))
    op.create_index("runs_by_parent", "runs", ["parent_uid", "namespace"])
