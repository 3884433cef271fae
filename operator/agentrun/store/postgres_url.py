"""
PostgreSQL URLs.

asyncpg parses them, so they may contain what libpq's may: several hosts, ``sslmode``,
``sslrootcert``, ``passfile``, ``target_session_attrs``; PGPASSWORD and similar variables are the
defaults. Here only the parts are parsed that name the database without its password.
"""

import os
import re
from urllib.parse import parse_qs, unquote, urlsplit

_HOSTS = re.compile(r"(?:[\w.%-]*|\[[\da-fA-F:.%]+\])(?::\d+)?")
URL_ADVICE = (
    "The URL of the store is invalid. Its form is"
    " postgresql://USER:PASSWORD@HOST:5432/DATABASE, with special characters, such as / ? # @ : in"
    " a password, percent-encoded."
)


def dsn_of(url: str) -> str:
    """Return the URL in asyncpg's form. Raises ValueError, without the URL, if it is invalid."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    is_cut_short = "@" in parts.path or ("@" not in parts.netloc and "@" in parts.query)
    if parts.fragment or is_cut_short or not all(_HOSTS.fullmatch(host) for host in hosts):
        raise ValueError(URL_ADVICE)
    return "postgresql" + url[url.index(":") :]


def name_of(dsn: str) -> str:
    """Return a name for the database and its host, for messages."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    asked = parts.netloc.rpartition("@")[2] or query.get("host", [""])[0]
    host = asked or os.environ.get("PGHOST") or "localhost"
    found = unquote(parts.path.lstrip("/")) or query.get("dbname", query.get("database", [""]))[0]
    return f"The database {found or os.environ.get('PGDATABASE') or 'of the user'} at {host}"
