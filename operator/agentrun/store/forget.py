"""
Permanent removal of a run's data, while the MCP server is running.

For data that must not be stored: a leaked secret, a person's data, an unneeded row. A run whose
AgentRun may still be in the cluster is refused: the MCP server would record it again on the next
watch event, and a working agent would have no journal to write to.
"""

from dataclasses import dataclass

from agentrun.api.gateway import blob_key
from agentrun.store.base import BlobStore, Forgotten, RunRow, StoreError
from agentrun.store.database import open_database
from agentrun.store.sql import SqlRunStore


class ForgetError(StoreError):
    """A run cannot be forgotten. The message says what to do."""


@dataclass(frozen=True)
class Request:
    """The run to be forgotten."""

    run: str
    """Its name or its uid."""
    namespace: str | None = None
    is_deleted: bool = False
    """Whether the caller has checked that its AgentRun is deleted."""


async def forget(store_url: str, blobs: BlobStore, request: Request) -> tuple[RunRow, Forgotten]:
    """
    Remove a run's blobs, row, journal and messages; return what was removed.

    Raises ForgetError if the run is unknown or ambiguous, or may still be in the cluster.
    """
    # Without migration: only the MCP server creates and changes the tables.
    store = SqlRunStore(open_database(store_url))
    try:
        row = _one(await store.named(request.run, request.namespace), request)
        _check(row, request)
        uid = row.run.metadata.uid
        # The blobs first: once the row is gone, nothing identifies them.
        await blobs.delete_prefix(blob_key(uid, ""))
        return row, await store.forget(uid)
    finally:
        await store.close()


def _one(found: list[RunRow], request: Request) -> RunRow:
    where = f" in namespace {request.namespace}" if request.namespace else ""
    if not found:
        raise ForgetError(f"Run {request.run} was not found{where}. Give its name or its uid.")
    if len(found) > 1:
        metas = [row.run.metadata for row in found]
        listed = ", ".join(f"{meta.uid} (namespace {meta.namespace})" for meta in metas)
        raise ForgetError(
            f"{len(found)} runs are named {request.run}. Give the uid of one: {listed}."
        )
    return found[0]


def _check(row: RunRow, request: Request) -> None:
    meta = row.run.metadata
    if row.deleted_at is None and not request.is_deleted:
        raise ForgetError(
            f"The AgentRun {meta.name} has not been observed as deleted: while it exists, it would"
            " be recorded again. Delete it"
            f" (kubectl delete agentrun {meta.name} -n {meta.namespace});"
            " if it no longer exists, add --deleted."
        )
    if not row.sealed and not request.is_deleted:
        raise ForgetError(
            f"The end of run {meta.name} is still being recorded. Try again in a few seconds."
        )
