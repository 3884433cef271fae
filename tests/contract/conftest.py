"""
The stores under test. A database is one entry of ``STORES``: PostgreSQL is added with its URL.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agentrun.store.base import BlobStore, RunStore
from agentrun.store.blobs import open_blobs
from agentrun.store.memory import MemoryBlobStore, MemoryRunStore
from agentrun.store.sql import open_store


async def _memory(_: Path) -> RunStore:
    return MemoryRunStore()


async def _sqlite(folder: Path) -> RunStore:
    return await open_store(f"sqlite:///{folder}/agentrun.db")


STORES: dict[str, Callable[[Path], Awaitable[RunStore]]] = {"memory": _memory, "sqlite": _sqlite}
BLOBS: dict[str, Callable[[Path], BlobStore]] = {
    "memory": lambda _: MemoryBlobStore(),
    "folder": lambda folder: open_blobs(f"file://{folder}/blobs"),
}


@pytest.fixture(params=list(STORES))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunStore]:
    opened = await STORES[request.param](tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(params=list(BLOBS))
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BLOBS[request.param](tmp_path)
