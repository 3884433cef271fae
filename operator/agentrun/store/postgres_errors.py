"""
Error messages for an unavailable PostgreSQL, with advice for the administrator.

The codes are those of PostgreSQL's documentation, appendix A.
"""

import asyncpg
from sqlalchemy import exc

READ_ONLY = "25006"
_TABLES = (
    "The tables are not those of this version of AgentRun. Restore the database from a backup, or"
    " restart the MCP server, which creates missing tables."
)
_ADVICE = {
    "28P01": "Check the user and the password in the store's URL.",
    "28000": "Check the user in the store's URL, and the server's pg_hba.conf.",
    "3D000": "Create the database, or correct its name in the store's URL.",
    "53100": "The disk of the database is full: free some space.",
    "53300": "Raise max_connections of the server, or run fewer replicas.",
    READ_ONLY: "This server is a standby or read-only: name the primary in the store's URL, or"
    " several hosts and target_session_attrs=read-write.",
    "42501": "Grant the store's user the missing privileges; it needs CREATE on its schema to"
    " create and change tables.",
    "3F000": "Create the schema, or correct search_path.",
    "42P01": _TABLES,
    "42703": _TABLES,
    "42704": "Correct the parameters in the store's URL.",
}


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of an error, also if it is wrapped; None if it has none."""
    found = _cause_of(error)
    return found.sqlstate if found else None


def explain(name: str, error: BaseException) -> str | None:
    """Return why the database ``name`` is unavailable; None for an error in the program."""
    cause = _cause_of(error)
    if cause is not None:
        code = cause.sqlstate or ""
        # Classes 22, 23 and 42: the statement or its data is invalid.
        if code not in _ADVICE and code[:2] in {"22", "23", "42"}:
            return None
        first = str(cause).partition("\n")[0].rstrip(".")
        return f"{name} is unavailable: {first}. {_ADVICE.get(code, '')}".rstrip()
    if isinstance(error, (exc.IntegrityError, exc.ProgrammingError, exc.DataError)):
        return None
    if isinstance(error, TimeoutError):
        return f"{name} does not respond in time."
    if isinstance(error, OSError):
        return f"{name} cannot be reached: {error}"
    if isinstance(error, (exc.SQLAlchemyError, asyncpg.InterfaceError)):
        first = str(getattr(error, "orig", None) or error).partition("\n")[0]
        return f"{name} is unavailable: {first}"
    return None


def _cause_of(error: BaseException | None) -> asyncpg.PostgresError | None:
    while error is not None:
        if isinstance(error, asyncpg.PostgresError):
            return error
        error = getattr(error, "orig", None) or error.__cause__
    return None
