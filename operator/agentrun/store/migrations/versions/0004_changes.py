"""Find the runs that changed last, and those that stand for their sessions, by indexes."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the indexes."""
    op.create_index("runs_by_change", "runs", ["namespace", "updated", "session_name", "uid"])
    op.create_index(
        "runs_by_standing",
        "runs",
        ["namespace", "session_name", "session_uid", "phase", "updated", "created", "uid"],
    )
