"""Make the tables of agents' messages, and find the runs of a session."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables and the index."""
    op.create_index("runs_by_session", "runs", ["namespace", "session_name"])
    op.create_table(
        "mailboxes",
        sa.Column("session_uid", _name(64), primary_key=True),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("delivered_seq", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "messages",
        sa.Column(
            "session_uid", _name(64), sa.ForeignKey("mailboxes.session_uid"), primary_key=True
        ),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("message_id", _name(64), nullable=False),
        sa.Column("to_agent", _name(253), nullable=False),
        sa.Column("from_session_uid", _name(64)),
        sa.Column("from_agent", _name(253)),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("session_uid", "message_id", name="messages_by_id"),
    )


def _name(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
