"""The stores under test: each is one entry of ``STORES`` or ``BLOBS``."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from agentrun.store.base import BlobStore, RunStore
from agentrun.store.blobs import open_blobs
from agentrun.store.sql import open_store
from dev import postgres
from dev.postgres import PostgresServer
from tests.memory_store import MemoryBlobStore, MemoryRunStore
from tests.waiting import LATE_SECONDS

_NUMBERS = count(1)
_TEMPLATE = "agentrun_template"
_SHARED = "agentrun_shared"


@dataclass
class Databases:
    """A PostgreSQL server, and empty databases with the current schema."""

    server: PostgresServer

    def make(self, template: str = _TEMPLATE) -> str:
        """Create a database and return its URL."""
        name = f"test_{next(_NUMBERS)}"
        self.server.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.server.url(name)

    def empty(self) -> str:
        """
        Empty the database that tests share, which is faster than a new one, and return its URL.
        """
        self.server.sql("TRUNCATE runs, events, mailboxes, messages", _SHARED)
        return self.server.url(_SHARED)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    # A test's database need not survive the machine: nothing has to reach a disk.
    with postgres.running("fsync=off", "max_connections=50") as server:
        server.sql(f"CREATE DATABASE {_TEMPLATE}")
        asyncio.run(_make_tables(server.url(_TEMPLATE)))
        server.sql(f"CREATE DATABASE {_SHARED} TEMPLATE {_TEMPLATE}")
        yield Databases(server)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengthen the timeouts: the contract does not depend on a busy machine's statement times."""
    for bound in ("_CONNECT_SECONDS", "_STATEMENT_SECONDS", "_POOL_SECONDS"):
        monkeypatch.setattr(f"agentrun.store.postgres.{bound}", LATE_SECONDS)


@pytest.fixture
def postgres_url(databases: Databases) -> str:
    return databases.empty()


async def _make_tables(url: str) -> None:
    await (await open_store(url)).close()


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], str | None]] = {
    "memory": lambda request, folder: None,
    "sqlite": lambda request, folder: f"sqlite:///{folder}/agentrun.db",
    "postgresql": lambda request, folder: request.getfixturevalue("postgres_url"),
}
BLOBS: dict[str, Callable[[pytest.FixtureRequest, Path], str | None]] = {
    "memory": lambda request, folder: None,
    "folder": lambda request, folder: f"file://{folder}/blobs",
    "s3": lambda request, folder: request.getfixturevalue("bucket"),
}


@pytest.fixture(params=list(STORES))
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return STORES[request.param](request, tmp_path)


@pytest.fixture
async def store(store_url: str | None) -> AsyncIterator[RunStore]:
    opened = MemoryRunStore() if store_url is None else await open_store(store_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a server with S3's protocol."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty bucket, with its credentials set in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "agentrun")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-access-key")
    name = f"bucket-{next(_NUMBERS)}"
    urlopen(Request(f"{s3}/{name}", method="PUT")).close()
    return f"s3://{name}/some/prefix"


@pytest.fixture(params=list(BLOBS))
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    url = BLOBS[request.param](request, tmp_path)
    return MemoryBlobStore() if url is None else open_blobs(url)
