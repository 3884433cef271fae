"""What a store owes the version before and after it: people upgrade, and roll back."""

import sqlite3
from pathlib import Path

from agentrun.api.events import NewEvent
from agentrun.store.base import RunStore
from agentrun.store.sql import open_store
from tests.contract.builders import TS, a_row, events


async def test_an_event_of_a_type_that_only_a_newer_version_knows_is_kept(store: RunStore) -> None:
    await store.record_run(a_row())
    newer = {"seq": 1, "event_id": "e", "ts": TS, "type": "dance_started", "data": {"steps": 3}}
    await store.append("uid-1", 1, [NewEvent.model_validate(newer)])
    (read,) = await store.read("uid-1", 0, 10)
    assert (read.type, read.data) == ("dance_started", {"steps": 3})
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.summary == "Event: dance_started"


async def test_a_database_that_a_newer_version_has_changed_is_still_used(tmp_path: Path) -> None:
    path = tmp_path / "agentrun.db"
    store = await open_store(f"sqlite:///{path}")
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 2))
    await store.close()
    with sqlite3.connect(path) as newer:
        newer.execute("ALTER TABLE runs ADD COLUMN mood TEXT")
        newer.execute("UPDATE alembic_version SET version_num = '0999'")
    newer.close()
    again = await open_store(f"sqlite:///{path}")
    await again.append("uid-1", 1, events(3, 4))
    assert [one.seq for one in await again.read("uid-1", 0, 10)] == [1, 2, 3, 4]
    await again.close()
