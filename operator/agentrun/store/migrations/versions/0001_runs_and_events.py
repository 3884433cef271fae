"""Make the tables of runs and of their events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        sa.Column("uid", _name(64), primary_key=True),
        sa.Column("namespace", _name(63), nullable=False),
        sa.Column("name", _name(253), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("phase", _name(32), nullable=False),
        sa.Column("backend", _name(32), nullable=False),
        sa.Column("cwd", sa.Text),
        sa.Column("session_name", _name(253), nullable=False),
        sa.Column("session_uid", _name(64), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.Boolean, nullable=False),
        sa.Column("journal_status", _name(32)),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.BigInteger),
    )
    op.create_index("runs_by_name", "runs", ["namespace", "name"])
    op.create_index("runs_by_age", "runs", ["created", "name", "uid"])
    op.create_index("runs_by_seal", "runs", ["sealed", "created"])
    op.create_table(
        "events",
        sa.Column("run_uid", _name(64), sa.ForeignKey("runs.uid"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_id", _name(64), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("ts", _name(32), nullable=False),
        sa.Column("session_uid", _name(64), nullable=False),
        sa.Column("type", _name(32), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )


def _name(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
