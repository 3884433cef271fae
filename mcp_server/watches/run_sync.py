"""
Synchronizes the store's rows with the cluster and seals the journals of runs that have finished.

Each served namespace is listed and then watched (``agentrun.kube.list_watch``). Runs that are
missing from a list were deleted while there was no watch. All tools read the rows.

Every replica does all of this: the first one writes, the others find the write done. There is no
leader election, and no replica is indispensable.

A namespace may be closed to the MCP server: it was deleted, and the permissions in it as well. The
other namespaces are served as before, and the runs of the deleted one are recorded as deleted.

A run that cannot be read as it is, is quarantined with its name and the reason, until it is deleted
or repaired. Any other failure in a namespace is an outage of that namespace only.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from agentrun.api.names import pod_name
from agentrun.api.quarantine import Quarantine, named, readable
from agentrun.api.v1alpha1 import AgentRun
from agentrun.backoff import Backoff
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.list_watch import PAUSES, follow, is_closed
from agentrun.kube.objects import is_pod_of
from agentrun.kube.resources import NAMESPACES, PODS, RUNS, SESSIONS
from agentrun.store.base import RunRow, RunStore, StoreError, StoreUnavailableError
from mcp_server.schemas.run_views import ended_by_deletion, seal_data, timestamp

_log = logging.getLogger(__name__)

_POD_GONE_PAUSES = (0.5, 1.0, 2.0, 5.0)
# A run that was deleted while this process was down may have had more attempts than its row has.
_ATTEMPTS_MISSED = 2


class RunSync:
    """Records the runs of some namespaces in the store."""

    def __init__(
        self,
        kube: KubeApi,
        store: RunStore,
        namespaces: Sequence[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pauses: Sequence[float] = PAUSES,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._kube = kube
        self._store = store
        self._namespaces = namespaces
        self._now = now
        self._pauses = pauses
        self._answered: set[str] = set()
        # Serializes the read and the write of a row: a row is never replaced by an older one.
        self._lock = asyncio.Lock()
        self._finalizers: dict[str, asyncio.Task[None]] = {}
        self.quarantine = Quarantine() if quarantine is None else quarantine
        """The objects that cannot be read as they are."""

    @property
    def is_ready(self) -> bool:
        """Whether every namespace that is not closed has been listed."""
        return len(self._answered) == len(self._namespaces)

    async def run(self) -> None:
        """List and watch all namespaces until cancelled."""
        try:
            await follow(
                self._kube,
                RUNS,
                self._namespaces,
                self,
                pauses=self._pauses,
                expected=(ApiError, StoreError),
            )
        finally:
            for task in self._finalizers.values():
                task.cancel()

    async def observe(self, manifest: Object, *, deleted: bool = False) -> RunRow | None:
        """
        Record the observed state of a run; return its row, None if it cannot be recorded.

        Raises ApiError or StoreUnavailableError on an outage of the API server or of the store.
        Problems of the run itself are stored in ``quarantine``.
        """
        namespace = _namespace_of(manifest)
        try:
            manifest = readable(manifest)
            run = AgentRun.model_validate(manifest)
            row = await self._take(run, deleted)
        except (ApiError, StoreUnavailableError):
            raise
        except Exception as error:  # noqa: BLE001 - one run's trouble must not stop the others
            await self._set_aside(namespace, manifest, error, deleted)
            return None
        if deleted:
            self.quarantine.release(RUNS.plural, namespace, run.metadata.name)
        else:
            self.quarantine.see(RUNS.plural, namespace, manifest)
        return row

    async def _take(self, run: AgentRun, deleted: bool) -> RunRow | None:
        async with self._lock:
            return await self._record(run, deleted)

    async def _set_aside(
        self, namespace: str, manifest: Object, error: Exception, deleted: bool
    ) -> None:
        name, uid = named(manifest)
        if not isinstance(error, ValidationError):
            _log.error("run %s cannot be recorded", name, exc_info=error)
        if not deleted:
            why = f"it cannot be recorded: {error}"
            self.quarantine.add(RUNS.plural, namespace, manifest, why)
            return
        self.quarantine.release(RUNS.plural, namespace, name)
        known = await self._store.get_run_by_uid(uid) if uid else None
        if known is not None:
            await self._observe_end(known)

    async def _observe_end(self, row: RunRow) -> None:
        """Record that the AgentRun of a row was deleted."""
        meta = row.run.metadata
        try:
            await self._take(row.run, True)
        except (ApiError, StoreUnavailableError):
            raise
        except Exception:  # noqa: BLE001 - one run's trouble must not stop the others
            _log.exception("the end of run %s (uid %s) cannot be recorded", meta.name, meta.uid)
        self.quarantine.release(RUNS.plural, meta.namespace, meta.name)

    async def _record(self, run: AgentRun, deleted: bool) -> RunRow | None:
        uid = run.metadata.uid
        known = await self._store.get_run_by_uid(uid)
        if _is_news(known, run, deleted):
            session_uid = (known and known.session_uid) or await self._session_uid(run)
            deleted_at = self._now() if deleted else None
            await self._store.record_run(RunRow(run, session_uid, deleted_at=deleted_at))
            _log_change(known, run, deleted)
            known = await self._store.get_run_by_uid(uid)
        if known is None or known.sealed:
            return known
        if known.run.is_finished:
            await self._seal(known.run)
            return await self._store.get_run_by_uid(uid)
        if known.deleted_at:
            self._finalize_deleted(known.run)
        return known

    async def _session_uid(self, run: AgentRun) -> str:
        try:
            session = await self._kube.get(SESSIONS, run.metadata.namespace, run.session_name)
        except ApiError as error:
            # The operator creates the session of a run that has none; a later watch event of the
            # run finds it.
            _log.debug("run %s has no session yet: %s", run.metadata.name, error)
            return ""
        return str(session["metadata"]["uid"])

    async def _seal(self, run: AgentRun) -> None:
        uid = run.metadata.uid
        stamp = timestamp(self._now()) or ""
        await self._store.seal(uid, f"seal-{uid}", stamp, seal_data(run))

    async def listed(self, namespace: str, items: list[Object], version: int) -> None:
        """Record the listed runs, and the deletion of the runs that are not listed any more."""
        for manifest in items:
            await self.observe(manifest)
        there = {named(manifest) for manifest in items}
        names, uids = {name for name, _ in there}, {uid for _, uid in there}
        self.quarantine.keep_only(RUNS.plural, namespace, names)
        for row in await self._store.open_runs():
            if row.run.metadata.namespace == namespace and row.run.metadata.uid not in uids:
                await self._observe_absence(row, version)
        self._answered.add(namespace)

    async def changed(self, namespace: str, manifest: Object, is_deleted: bool) -> None:
        """Record a changed or deleted run."""
        await self.observe(manifest, deleted=is_deleted)

    async def failed(self, namespace: str, error: Exception) -> None:
        """
        Record that a namespace cannot be watched.

        If the namespace was deleted, its runs are recorded as deleted.
        """
        if not is_closed(error):
            self._answered.discard(namespace)
            return
        self._answered.add(namespace)
        try:
            open_runs = await self._store.open_runs()
            if await self._is_namespace_gone(namespace):
                self.quarantine.keep_only(RUNS.plural, namespace, ())
                for row in open_runs:
                    if row.run.metadata.namespace == namespace:
                        await self._observe_end(row)
        except (ApiError, StoreError) as problem:
            _log.warning("the deletion of namespace %s cannot be recorded: %s", namespace, problem)

    async def _is_namespace_gone(self, namespace: str) -> bool:
        """Whether the API server confirms that a namespace does not exist."""
        try:
            await self._kube.get(NAMESPACES, namespace, "")
        except ApiError as error:
            return error.is_not_found
        return False

    async def _observe_absence(self, row: RunRow, listed_at: int) -> None:
        """Record a run that is not listed as deleted, unless it is newer than the list."""
        if row.run.metadata.version <= listed_at:
            await self._observe_end(row)

    def _finalize_deleted(self, run: AgentRun) -> None:
        """Wait in the background until the pods of a deleted run are gone, then seal its record."""
        uid = run.metadata.uid
        if uid in self._finalizers:
            return
        task = asyncio.create_task(self._end_by_deletion(run), name=f"finalize {run.metadata.name}")
        self._finalizers[uid] = task
        task.add_done_callback(lambda _: self._finalizers.pop(uid, None))

    async def _end_by_deletion(self, run: AgentRun) -> None:
        backoff, absences = Backoff(_POD_GONE_PAUSES), 0
        while True:
            try:
                # One absence is not enough: the operator counts an attempt before it creates
                # the pod, and the run may be deleted in between.
                absences = absences + 1 if await self._is_pod_gone(run) else 0
                if absences > 1:
                    await self._close_record(run)
                    return
            except (ApiError, StoreError) as error:
                _log.warning(
                    "the record of deleted run %s cannot be closed yet: %s",
                    run.metadata.name,
                    error,
                )
            except Exception:  # noqa: BLE001 - the run waits for it, and nobody else sees it
                _log.exception(
                    "the record of deleted run %s cannot be closed yet", run.metadata.name
                )
            await backoff.wait()

    async def _close_record(self, run: AgentRun) -> None:
        uid, now = run.metadata.uid, self._now()
        async with self._lock:
            row = await self._store.get_run_by_uid(uid) or RunRow(run)
            if not row.run.is_finished:
                ended = ended_by_deletion(row.run, now)
                deleted_at = row.deleted_at or now
                await self._store.record_run(replace(row, run=ended, deleted_at=deleted_at))
                # Another replica may have recorded the end first: the seal equals what is recorded.
                row = await self._store.get_run_by_uid(uid) or replace(row, run=ended)
            await self._seal(row.run)
        _log.info("run %s was deleted and none of its pods is left", run.metadata.name)

    async def _is_pod_gone(self, run: AgentRun) -> bool:
        """Check the pods of the known attempts, and of those this process may have missed."""
        for attempt in range(max(1, run.attempts), run.attempts + _ATTEMPTS_MISSED + 1):
            if await self._has_pod(run, attempt):
                return False
        return True

    async def _has_pod(self, run: AgentRun, attempt: int) -> bool:
        name = pod_name(run.metadata.name, attempt)
        try:
            pod = await self._kube.find(PODS, run.metadata.namespace, name)
        except ApiError as error:
            if is_closed(error):
                return not await self._is_namespace_gone(run.metadata.namespace)
            raise
        return pod is not None and is_pod_of(pod, run.metadata.uid)


def _namespace_of(manifest: Object) -> str:
    meta = manifest.get("metadata") if isinstance(manifest, dict) else None
    return str(meta.get("namespace") or "") if isinstance(meta, dict) else ""


def _is_news(known: RunRow | None, run: AgentRun, deleted: bool) -> bool:
    if known is None or run.metadata.version > known.run.metadata.version:
        return True
    return (deleted and known.deleted_at is None) or not known.session_uid


def _log_change(known: RunRow | None, run: AgentRun, deleted: bool) -> None:
    before = known.run.phase if known else None
    if deleted:
        _log.info("run %s was deleted in phase %s", run.metadata.name, run.phase.value)
    elif before is not run.phase:
        reason = run.status.reason or "no reason yet"
        _log.info("run %s is %s (%s)", run.metadata.name, run.phase.value, reason)
