"""What only PostgreSQL can suffer: restarts, cut connections, refusals, and being full."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from agentrun.store.base import JournalHead, RunStore, StoreUnavailableError
from agentrun.store.postgres import dsn_of, name_of
from agentrun.store.sql import open_store
from dev import postgres
from dev.postgres import PASSWORD, PostgresServer
from tests.contract.builders import a_row, events
from tests.contract.conftest import Databases
from tests.contract.waiting import begin_waiting, wait_for_event


@pytest.fixture
def server(databases: Databases) -> PostgresServer:
    return databases.server


@pytest.fixture
def url(databases: Databases) -> str:
    """A database of the test's own, which it may damage."""
    return databases.make()


@pytest.fixture
async def store(url: str) -> AsyncIterator[RunStore]:
    opened = await open_store(url)
    await opened.record_run(a_row())
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[RunStore]:
    """Another replica."""
    opened = await open_store(url)
    yield opened
    await opened.close()


def cut(server: PostgresServer, url: str, which: str = "true") -> None:
    """End the server's side of connections."""
    name = urlsplit(url).path[1:]
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{name}' AND pid <> pg_backend_pid() AND {which}"
    )


LISTENS = "query LIKE '%pg_notify($1, $2)'"


async def eventually_appends(store: RunStore, first: int, last: int) -> None:
    """Append as a runner does: again until the store takes it."""
    while True:
        try:
            await store.append("uid-1", 1, events(first, last))
            return
        except StoreUnavailableError:
            await asyncio.sleep(0.05)  # Tries again: it comes back when it will.


async def unavailable(store: RunStore) -> str:
    """Return why nothing can be appended."""
    with pytest.raises(StoreUnavailableError) as error:
        await store.append("uid-1", 1, events(1, 1))
    assert PASSWORD not in f"{error.value} {error.value.__cause__}"
    return str(error.value)


# Losing the connection


async def test_closed_connections_are_reopened_transparently(
    store: RunStore, server: PostgresServer, url: str
) -> None:
    await asyncio.gather(*(store.head("uid-1") for _ in range(30)))
    cut(server, url)
    assert await store.append("uid-1", 1, events(1, 2)) == JournalHead(2)
    heads = await asyncio.gather(*(store.head("uid-1") for _ in range(30)))
    assert heads == [JournalHead(2)] * 30


async def test_waiting_readers_are_woken_after_the_listening_connection_was_closed(
    store: RunStore, other: RunStore, server: PostgresServer, url: str
) -> None:
    for seq in range(1, 6):
        waiting = await begin_waiting(store.changes("uid-1", seq - 1))
        cut(server, url, LISTENS)
        await other.append("uid-1", 1, events(seq, seq))
        await asyncio.wait_for(waiting, 30)


@pytest.mark.parametrize("crash", [False, True], ids=["restart", "crash"])
async def test_writes_around_a_restart_wake_waiting_readers(
    store: RunStore, other: RunStore, server: PostgresServer, crash: bool
) -> None:
    await other.append("uid-1", 1, events(1, 2))
    waiting = await begin_waiting(store.changes("uid-1", 2))
    server.restart(crash=crash)
    await eventually_appends(other, 3, 4)
    await asyncio.wait_for(waiting, 30)
    assert [event.seq for event in await store.read("uid-1", 0, 10)] == [1, 2, 3, 4]


async def test_a_stopped_server_is_unavailable_until_it_restarts(
    store: RunStore, server: PostgresServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    waiting = await begin_waiting(store.changes("uid-1", 0))
    server.stop()
    try:
        for _ in range(20):
            assert "127.0.0.1" in await unavailable(store)
        with pytest.raises(StoreUnavailableError, match=r"cannot be reached.*127\.0\.0\.1"):
            await open_store(url)
        # Nobody waits for ever for what cannot be heard.
        await asyncio.wait_for(waiting, 30)
    finally:
        server.start()
    await eventually_appends(store, 1, 2)
    assert await store.head("uid-1") == JournalHead(2)
    assert "notifications of other MCP servers are delayed" in caplog.text
    assert PASSWORD not in caplog.text


async def test_a_server_that_crashes_during_appends_keeps_all_acknowledged_events(
    store: RunStore, server: PostgresServer
) -> None:
    acknowledged = 0

    async def talk() -> None:
        nonlocal acknowledged
        while acknowledged < 400:
            await eventually_appends(store, acknowledged + 1, acknowledged + 1)
            acknowledged += 1

    talking = asyncio.create_task(talk())
    for seq in (50, 100):
        await wait_for_event(store, "uid-1", seq)
        server.restart(crash=True)
    await talking
    journal = await store.read("uid-1", 0, 1000)
    assert [event.seq for event in journal] == list(range(1, 401))


# Refusals


async def refused(url: str) -> str:
    """Return why a database cannot be opened."""
    with pytest.raises(StoreUnavailableError) as error:
        await open_store(url)
    assert PASSWORD not in f"{error.value} {error.value.__cause__}"
    return str(error.value)


async def test_a_wrong_password_is_reported_without_repeating_it(databases: Databases) -> None:
    url = databases.server.url("postgres", password="wr0ng-secret")
    why = await refused(url)
    assert "Check the user and the password" in why
    assert "wr0ng-secret" not in why


async def test_a_missing_database_is_named(databases: Databases) -> None:
    why = await refused(databases.server.url("nowhere"))
    assert "database nowhere at 127.0.0.1" in why
    assert "Create the database" in why


async def test_a_parameter_unknown_to_the_server_is_reported(url: str) -> None:
    assert "Correct the parameters" in await refused(f"{url}?pool_size=5")


async def test_a_user_without_privileges_gets_an_error_that_names_them(
    server: PostgresServer, url: str, store: RunStore
) -> None:
    server.sql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = server.url(urlsplit(url).path[1:], user="guest", password="guest")
    why = await refused(guest)
    assert "permission denied" in why
    assert "Grant the store's user" in why


async def test_a_server_without_a_free_connection_is_unavailable(
    server: PostgresServer, url: str
) -> None:
    server.sql(
        "DROP ROLE IF EXISTS single; CREATE ROLE single LOGIN PASSWORD 'x' CONNECTION LIMIT 0"
    )
    why = await refused(server.url(urlsplit(url).path[1:], user="single", password="x"))
    assert "too many connections" in why
    assert "max_connections" in why


async def test_a_read_only_database_is_unavailable_until_it_is_writable(
    store: RunStore, server: PostgresServer, url: str
) -> None:
    name = urlsplit(url).path[1:]
    server.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    cut(server, url)
    assert "name the primary" in await unavailable(store)
    assert await store.head("uid-1") == JournalHead(0), "reading goes on"
    server.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    # Nobody had to cut the connections that were read-only.
    await eventually_appends(store, 1, 1)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        pytest.param("53100", "free some space", id="disk-full"),
        pytest.param("40P01", "is unavailable", id="deadlock"),
        pytest.param("40001", "is unavailable", id="serialization"),
        pytest.param("57P03", "is unavailable", id="starting-up"),
    ],
)
async def test_a_temporary_error_of_the_server_is_unavailable_until_it_passes(
    store: RunStore, server: PostgresServer, url: str, code: str, advice: str
) -> None:
    name = urlsplit(url).path[1:]
    server.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'out of order' USING ERRCODE = '{code}'; END $$;"
        " CREATE TRIGGER fails BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail()",
        name,
    )
    why = await unavailable(store)
    assert "out of order" in why
    assert advice in why
    assert await store.head("uid-1") == JournalHead(0)
    server.sql("DROP TRIGGER fails ON events", name)
    assert await store.append("uid-1", 1, events(1, 1)) == JournalHead(1)


async def test_missing_tables_are_reported(
    store: RunStore, server: PostgresServer, url: str
) -> None:
    server.sql("DROP TABLE events", urlsplit(url).path[1:])
    await store.head("uid-1")
    assert "Restore the database from a backup" in await unavailable(store)


# Poolers


async def test_a_pooler_in_session_mode_is_supported(server: PostgresServer, url: str) -> None:
    with postgres.pooler(server, urlsplit(url).path[1:], "session") as pooled:
        here = await open_store(pooled)
        await here.record_run(a_row())
        there = await open_store(pooled)
        for seq in range(1, 6):
            waiting = await begin_waiting(there.changes("uid-1", seq - 1))
            await here.append("uid-1", 1, events(seq, seq))
            await waiting
        await here.close()
        await there.close()


async def test_a_pooler_in_transaction_mode_is_refused(server: PostgresServer, url: str) -> None:
    with postgres.pooler(server, urlsplit(url).path[1:], "transaction") as pooled:
        for _ in range(5):
            assert "pool_mode=session" in await refused(pooled)


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://agentrun:s3/cret@host/db",
        "postgresql://agentrun:12/s3cret@host/db",
        "postgresql://agentrun:s3#cret@host/db",
        "postgresql://agentrun:12#s3cret@host/db",
        "postgresql://agentrun:12?s3cret@host/db",
        "postgresql://host:s3cret/db",
    ],
)
async def test_a_url_truncated_by_its_password_does_not_reveal_it(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://USER:PASSWORD@HOST") as error:
        await open_store(url)
    assert not re.search("s3|cret", str(error.value))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:p@db.team.svc:5432/agentrun", "agentrun at db.team.svc:5432"),
        ("postgres://u:p%40ss@a:1,b:2/agentrun?sslmode=require", "agentrun at a:1,b:2"),
        ("postgresql+asyncpg://u:p@[::1]:5432/agentrun", "agentrun at [::1]:5432"),
        ("postgresql:///agentrun?host=/run/postgresql", "agentrun at /run/postgresql"),
        ("postgresql://u@host/a%20b?password=secret", "a b at host"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, name: str) -> None:
    assert name_of(dsn_of(url)) == f"The database {name}"


async def test_connections_set_application_name_and_synchronous_commit(
    url: str, server: PostgresServer
) -> None:
    server.sql(f"ALTER DATABASE {urlsplit(url).path[1:]} SET synchronous_commit = off")
    store = await open_store(url)
    await store.record_run(a_row())
    named = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = '{}'"
    assert server.sql(named.format(urlsplit(url).path[1:])) == "agentrun"
    async with store._database.reader.connect() as connection:
        shown = (await connection.exec_driver_sql("SHOW synchronous_commit")).scalar()
    assert shown == "on", "what is acknowledged is on disk, whatever the database prefers"
    await store.close()
