from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from agentrun.store.sql import open_store
from agentrun.store.tables import metadata


async def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    def difference(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    store = await open_store(f"sqlite:///{tmp_path}/a.db")
    async with store._database.reader.connect() as connection:
        assert await connection.run_sync(difference) == []
    await store.close()


def test_the_tables_can_be_said_to_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        assert table.name in str(CreateTable(table).compile(dialect=dialect))
