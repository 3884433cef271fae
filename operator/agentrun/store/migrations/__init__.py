"""
Bringing a database's tables up to date.

The steps lie in ``versions``, one file each, in alembic's form, and are never changed once they
have been released. A step only adds (tables, indexes, columns that may be empty or have a
default), so that the version before can go on with the database after a rollback.
"""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_HERE = Path(__file__).parent

_log = logging.getLogger(__name__)


def upgrade(connection: Connection) -> None:
    """Run the steps that the database behind ``connection`` has not seen, in its transaction."""
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    newer = set(MigrationContext.configure(connection).get_current_heads()) - known
    if newer:
        _log.warning("a newer version has changed the database, to %s: used as it is", newer.pop())
        return
    command.upgrade(config, "head")
