"""
Bringing a database's tables up to date.

The steps lie in ``versions``, one file each, in alembic's form, and are never changed once they
have been released. There are only steps forward. A step adds (tables, indexes, columns that may
be empty or have a default), so that the version before can go on with the database after a
rollback, and beside the next version during an update. One that does more takes the next
thousand for its number, 1000 after 0007: versions that do not know it refuse the database.
"""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from agentrun.store.base import TooNewError

_HERE = Path(__file__).parent
_BREAK = 1000

_log = logging.getLogger(__name__)


def upgrade(connection: Connection) -> None:
    """Run the steps that the database behind ``connection`` has not seen, in its transaction."""
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    steps = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None or found in {step.revision for step in steps.walk_revisions()}:
        command.upgrade(config, "head")
        return
    newest = steps.get_current_head() or ""
    if not found.isdecimal() or int(found) // _BREAK != int(newest) // _BREAK:
        raise TooNewError(
            f"a newer version of AgentRun has changed the database, to {found}; this version"
            f" knows {newest} and cannot use it. Run the newer version, or restore the backup that"
            " was made before the update."
        )
    _log.warning("a newer version has changed the database, to %s: it is used as is", found)
