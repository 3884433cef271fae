"""Find by indexes the runs of a list, those that changed last, those that stand for sessions."""

from alembic import op

revision = "0004"
down_revision = "0003"

_ORDERED_AND_CHOSEN = ["created", "name", "uid", "phase", "backend"]


def upgrade() -> None:
    """Add the indexes. One of them does also what the one before it of that name did."""
    op.create_index("runs_by_place", "runs", ["namespace", *_ORDERED_AND_CHOSEN])
    op.drop_index("runs_by_session", "runs")
    op.create_index("runs_by_session", "runs", ["namespace", "session_name", *_ORDERED_AND_CHOSEN])
    op.create_index("runs_by_change", "runs", ["namespace", "updated", "session_name", "uid"])
    op.create_index(
        "runs_by_standing",
        "runs",
        ["namespace", "session_name", "session_uid", "phase", "updated", "created", "uid"],
    )
