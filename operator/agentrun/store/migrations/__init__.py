"""
Bringing a database's tables up to date.

The steps lie in ``versions``, one file each, in alembic's form, and are never changed once they
have been released.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_HERE = Path(__file__).parent


def upgrade(connection: Connection) -> None:
    """Run the steps that the database behind ``connection`` has not seen, in its transaction."""
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
