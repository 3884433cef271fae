"""
The tables, in SQL that SQLite and PostgreSQL share.

Times are microseconds since 1970, because databases differ in time zones. Documents and event data
are JSON as text: the store never queries inside, and text preserves what was sent. Names are
compared byte by byte, in PostgreSQL as in SQLite: lists have one order everywhere, and no index
depends on the locales of the machine that the database is moved to.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _name(length: int) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


runs = Table(
    "runs",
    metadata,
    Column("uid", _name(64), primary_key=True),
    Column("namespace", _name(63), nullable=False),
    Column("name", _name(253), nullable=False),
    # The creation time of the API server, in seconds; and what orders runs of one name and second.
    Column("created", BigInteger, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("phase", _name(32), nullable=False),
    Column("backend", _name(32), nullable=False),
    Column("cwd", Text),
    Column("session_name", _name(253), nullable=False),
    Column("session_uid", _name(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("journal_status", _name(32)),
    Column("summary", Text, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("deleted", BigInteger),
    # Empty for a run without a parent; NULL if a version without the column inserted the row.
    Column("parent_uid", _name(256)),
)
Index("runs_by_name", runs.c.namespace, runs.c.name)
Index("runs_by_age", runs.c.created, runs.c.name, runs.c.uid)
Index("runs_by_seal", runs.c.sealed, runs.c.created)
Index("runs_by_parent", runs.c.parent_uid, runs.c.namespace)
# The columns of the lists' order and filters; but cwd may be too long for an index.
_PLACE = (runs.c.created, runs.c.name, runs.c.uid)
_CHOSEN = (runs.c.phase, runs.c.backend)
Index("runs_by_place", runs.c.namespace, *_PLACE, *_CHOSEN)
Index("runs_by_session", runs.c.namespace, runs.c.session_name, *_PLACE, *_CHOSEN)
Index("runs_by_change", runs.c.namespace, runs.c.updated, runs.c.session_name, runs.c.uid)
Index(
    "runs_by_standing",
    *(runs.c.namespace, runs.c.session_name, runs.c.session_uid, runs.c.phase),
    *(runs.c.updated, runs.c.created, runs.c.uid),
)

events = Table(
    "events",
    metadata,
    Column("run_uid", _name(64), ForeignKey("runs.uid"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", _name(64), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("ts", _name(32), nullable=False),
    Column("session_uid", _name(64), nullable=False),
    Column("type", _name(32), nullable=False),
    Column("data", Text, nullable=False),
)

# Every sender to a session locks its row.
mailboxes = Table(
    "mailboxes",
    metadata,
    Column("session_uid", _name(64), primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("delivered_seq", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("session_uid", _name(64), ForeignKey("mailboxes.session_uid"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", _name(64), nullable=False),
    Column("to_agent", _name(253), nullable=False),
    Column("from_session_uid", _name(64)),
    Column("from_agent", _name(253)),
    Column("created", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("session_uid", "message_id", name="messages_by_id"),
)
