"""
Creates, answers, cancels and finds runs: the MCP server's writes to the cluster.

All operations are idempotent: the caller chooses the names, and an object that already exists is
compared with the request, not created again.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import ValidationError

from agentrun.api.base import Model
from agentrun.api.messages import AgentMessage
from agentrun.api.names import parse_run_id
from agentrun.api.pod_layout import LABEL_RUN, REQUEST_HASH, REQUESTED_AT, REQUESTED_BY
from agentrun.api.quarantine import named, readable
from agentrun.api.v1alpha1 import AgentProfile, AgentRun, AgentSession, ParentRun
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.conflict import retry_on_conflict
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS, Resource
from agentrun.store.base import RunRow, RunStore
from mcp_server.runs.continuing import (
    build_answer,
    build_repetition,
    build_resumption,
    build_session_for,
    check_resumable,
    earlier_answer,
    with_answer,
)
from mcp_server.runs.credentials import (
    Credentials,
    add_reference,
    drop_foreign_credentials,
    inherit_credentials,
    store_credentials,
)
from mcp_server.runs.manifests import (
    build_cancellation,
    build_run,
    build_session,
    check_profile,
    check_session,
    profile_name,
    request_hash,
    unknown_profile,
)
from mcp_server.schemas.arguments import InvalidArgumentsError
from mcp_server.schemas.run_views import timestamp
from mcp_server.schemas.runs import SpawnArguments
from mcp_server.watches.watched import Watched

_log = logging.getLogger(__name__)

_PATCH_TRIES = 4
_M = TypeVar("_M", bound=Model)


class Runs:
    """Access to the runs of the cluster. Writes are recorded in the store immediately."""

    def __init__(
        self,
        kube: KubeApi,
        store: RunStore,
        watched: Watched,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._now = now
        self._store = store
        self._run_sync = watched.run_sync
        self.sessions = watched.sessions
        """The cached sessions; lookups send no requests."""
        self.profiles = watched.profiles
        """The cached profiles."""
        self.quarantine = watched.run_sync.quarantine
        """The objects that cannot be read as they are."""

    async def find(self, namespace: str, name: str) -> RunRow | None:
        """Return a run from the store, else from the cluster; None if it does not exist."""
        row = await self._store.get_run(namespace, name)
        if row is not None:
            return row
        # A run that was just created with kubectl may not have reached the watch yet.
        manifest = await self._get(RUNS, namespace, name)
        return await self._run_sync.observe(manifest) if manifest else None

    async def find_by_id(self, namespace: str, run_id: str) -> RunRow | None:
        """Return the run of a run_id: of that name, the newest; or of that name and uid."""
        name, uid = parse_run_id(run_id)
        if not uid:
            return await self.find(namespace, name)
        row = await self._store.get_run_by_uid(uid) or await self.find(namespace, name)
        is_meant = row is not None and row.run.metadata.uid == uid
        place = (row.run.metadata.namespace, row.run.metadata.name) if row else ()
        return row if is_meant and place == (namespace, name) else None

    async def find_session(self, namespace: str, reference: str) -> AgentSession | None:
        """Return a session by its name or its uid; None if it does not exist."""
        manifest = await self._get(SESSIONS, namespace, reference)
        if manifest is not None:
            return self._one(AgentSession, SESSIONS, manifest)
        return await self.sessions.of_uid(namespace, reference)

    def _one(self, model: type[_M], resource: Resource, manifest: Object) -> _M:
        """Parse an object. Raises InvalidArgumentsError if it cannot be read."""
        try:
            return model.model_validate(readable(manifest))
        except ValidationError as error:
            name = named(manifest)[0]
            raise InvalidArgumentsError(
                f"{resource.plural} {name} cannot be read: {error.errors()[0]['msg']}."
                f" Correct or delete it: kubectl edit {resource.plural} {name}."
            ) from error

    async def find_repeated(
        self,
        arguments: SpawnArguments,
        credentials: Credentials | None,
        namespace: str,
        run_id: str,
    ) -> RunRow | None:
        """
        Return the run that an identical request created, if any.

        Raises InvalidArgumentsError if a different request created it.
        """
        earlier = await self.find(namespace, run_id)
        if earlier is None:
            return None
        row = _with_digest(earlier, request_hash(arguments))
        # The process that created the run may have stopped before it created the Secret.
        session = await self.find_session(namespace, row.run.session_name)
        if session is not None:
            await store_credentials(self._kube, credentials, row.run, session)
        return row

    async def spawn(
        self,
        arguments: SpawnArguments,
        credentials: Credentials | None,
        namespace: str,
        run_id: str,
        requested_by: str,
        parent: ParentRun | None = None,
    ) -> RunRow:
        """
        Create the run with this id and, for a new conversation, its session.

        The arguments are without ``credentials``, which are stored in a Secret of the run.
        """
        profile = await self._profile(arguments, namespace)
        if arguments.session_mode == "resume":
            session, is_new = await self._session_to_resume(arguments, namespace), False
            body = build_run(arguments, run_id, session.metadata.name, requested_by, profile.spec)
        else:
            fresh = build_session(arguments, run_id)
            name = fresh["metadata"]["name"]
            # Built before the session is created, so that an invalid run does not take its name.
            body = build_run(arguments, run_id, name, requested_by, profile.spec)
            session, is_new = await self._create_or_find_session(
                namespace, fresh, run_id, arguments.nickname
            )
        if credentials is not None:
            add_reference(body["spec"], run_id)
        elif not is_new:
            await inherit_credentials(self.find, body, session)
        await drop_foreign_credentials(self.find, namespace, body)
        _with_parent(body, parent)
        manifest = await self._create(namespace, body, session if is_new else None)
        await store_credentials(self._kube, credentials, AgentRun.model_validate(manifest), session)
        return await self._record(manifest, body)

    async def resume(
        self,
        row: RunRow,
        run_id: str,
        message: AgentMessage,
        requested_by: str,
        parent: ParentRun | None = None,
    ) -> RunRow:
        """Create the run with this id, which continues the conversation of a run that has ended."""
        run, namespace = row.run, row.run.metadata.namespace
        body = build_resumption(run, run_id, message, requested_by)
        _with_parent(body, parent)
        earlier = await self.find(namespace, run_id)
        if earlier is not None:
            return _made_by(earlier, body)
        session = await self.find_session(namespace, run.session_name)
        if session and row.session_uid not in ("", session.metadata.uid):
            session = None  # Another session has taken the name.
        check_resumable(run, session)
        await drop_foreign_credentials(self.find, namespace, body)
        return await self._make(namespace, body, None)

    async def repeat(
        self,
        row: RunRow,
        run_id: str,
        message: AgentMessage | None,
        requested_by: str,
        parent: ParentRun | None = None,
    ) -> RunRow:
        """Create the run with this id, which repeats the task of another run."""
        namespace = row.run.metadata.namespace
        body = build_repetition(row.run, run_id, message, requested_by)
        _with_parent(body, parent)
        earlier = await self.find(namespace, run_id)
        if earlier is not None:
            return _made_by(earlier, body)
        await drop_foreign_credentials(self.find, namespace, body)
        fresh = build_session_for(row.run, run_id)
        session, is_new = await self._create_or_find_session(namespace, fresh, run_id)
        return await self._make(namespace, body, session if is_new else None)

    async def answer(
        self,
        row: RunRow,
        message: AgentMessage,
        requested_by: str,
        may_be_answered: Callable[[RunRow], bool],
        key: str | None = None,
    ) -> tuple[RunRow, int | None]:
        """
        Add an answer to a waiting run; return the answer's number, None if the run has ended.

        ``may_be_answered`` is called with the current run and may raise. ``key`` is the digest of
        an idempotency key: an answer with the same key is added only once.
        """
        meta = row.run.metadata

        async def answer() -> tuple[RunRow, int | None]:
            manifest = await self._get(RUNS, meta.namespace, meta.name)
            if manifest is None or manifest["metadata"]["uid"] != meta.uid:
                raise InvalidArgumentsError(
                    f"run {meta.name} was deleted. Call spawn_run to start another run."
                )
            known = await self._run_sync.observe(manifest) or row
            run = self._one(AgentRun, RUNS, manifest)
            if (seq := with_answer(run, message, key)) is not None:
                return known, seq
            given = None if run.is_finished else earlier_answer(run, message)
            if given is not None:
                return known, given.seq
            if not may_be_answered(replace(known, run=run)):
                return known, None
            patch, seq = build_answer(run, message, key)
            manifest = await self._kube.patch(RUNS, meta.namespace, meta.name, patch)
            _log.info("run %s: answer %d received from %s", meta.name, seq, requested_by)
            return await self._run_sync.observe(manifest) or known, seq

        return await retry_on_conflict(answer, _PATCH_TRIES)

    async def _make(self, namespace: str, body: Object, new_session: AgentSession | None) -> RunRow:
        return await self._record(await self._create(namespace, body, new_session), body)

    async def _create(
        self, namespace: str, body: Object, new_session: AgentSession | None
    ) -> Object:
        body["metadata"]["annotations"][REQUESTED_AT] = timestamp(self._now())
        try:
            return await self._create_run(namespace, body)
        except ApiError:
            if new_session is not None:
                await self._discard_session(namespace, new_session)
            raise

    async def _record(self, manifest: Object, body: Object) -> RunRow:
        row = await self._run_sync.observe(manifest)
        if row is None:
            name = body["metadata"]["name"]
            raise InvalidArgumentsError(
                f"run {name} exists but cannot be read: list_runs shows why in `unreadable`."
            )
        return _made_by(row, body)

    async def request_cancellation(
        self, row: RunRow, requested_by: str, reason: str | None
    ) -> RunRow:
        """Request the cancellation of a run; the row shows whether it had already ended."""
        namespace, name = row.run.metadata.namespace, row.run.metadata.name

        async def cancel() -> RunRow:
            manifest = await self._get(RUNS, namespace, name)
            if manifest is None or manifest["metadata"]["uid"] != row.run.metadata.uid:
                return row
            run = self._one(AgentRun, RUNS, manifest)
            patch = None if run.is_finished else build_cancellation(run, requested_by, reason)
            if patch is None:
                return await self._run_sync.observe(manifest) or row
            manifest = await self._kube.patch(RUNS, namespace, name, patch)
            _log.info("run %s: cancellation requested by %s", name, requested_by)
            return await self._run_sync.observe(manifest) or row

        return await retry_on_conflict(cancel, _PATCH_TRIES)

    async def _profile(self, arguments: SpawnArguments, namespace: str) -> AgentProfile:
        name = profile_name(arguments)
        manifest = await self._get(PROFILES, namespace, name)
        if manifest is None:
            raise unknown_profile(name, self.profiles.all(namespace))
        profile = self._one(AgentProfile, PROFILES, manifest)
        check_profile(arguments, profile)
        return profile

    async def _session_to_resume(self, arguments: SpawnArguments, namespace: str) -> AgentSession:
        reference = (arguments.session_id or "").strip()
        session = await self.find_session(namespace, reference)
        if session is None:
            raise InvalidArgumentsError(f"Unknown session_id: {reference}")
        check_session(arguments, session)
        return session

    async def _create_or_find_session(
        self, namespace: str, body: Object, run_id: str, nickname: str | None = None
    ) -> tuple[AgentSession, bool]:
        name = body["metadata"]["name"]
        try:
            created = await self._kube.create(SESSIONS, namespace, body)
            self.sessions.put(namespace, created)
            return AgentSession.model_validate(created), True
        except ApiError as error:
            if not error.already_exists:
                raise
        # An earlier try of the same request may have created only the session.
        existing = await self._get(SESSIONS, namespace, name)
        if existing and existing["metadata"].get("labels", {}).get(LABEL_RUN) == run_id:
            return self._one(AgentSession, SESSIONS, existing), False
        raise InvalidArgumentsError(
            f"Agent name is already in use: {nickname or name}. Choose another nickname,"
            " or continue that agent's conversation with session_mode resume."
        )

    async def _discard_session(self, namespace: str, session: AgentSession) -> None:
        """Delete the session of a failed request, so that its name can be used again."""
        name = session.metadata.name
        try:
            await self._kube.delete(SESSIONS, namespace, name, session.metadata.uid)
            self.sessions.remove(session)
        except ApiError as error:
            _log.warning("session %s of a rejected run could not be deleted: %s", name, error)

    async def _create_run(self, namespace: str, body: Object) -> Object:
        name, by = body["metadata"]["name"], body["metadata"]["annotations"][REQUESTED_BY]
        try:
            created = await self._kube.create(RUNS, namespace, body)
            _log.info("run %s: requested by %s", name, by)
            return created
        except ApiError as error:
            # A concurrent identical request created the run. Without a response, the run may have
            # been created as well.
            if not error.already_exists and not isinstance(error, ApiUnavailableError):
                raise
            existing = await self._get(RUNS, namespace, name)
            if existing is None:
                raise
            return existing

    async def _get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self._kube.get(resource, namespace, name)
        except ApiError as error:
            # No object has an invalid name.
            if error.status in (400, 404, 422):
                return None
            raise


def _with_parent(body: Object, parent: ParentRun | None) -> None:
    if parent is not None:
        body["spec"]["parent"] = parent.to_json()


def _made_by(row: RunRow, body: Object) -> RunRow:
    """Return the row. Raises InvalidArgumentsError if another request created the run."""
    return _with_digest(row, body["metadata"]["annotations"][REQUEST_HASH])


def _with_digest(row: RunRow, digest: str) -> RunRow:
    if row.run.metadata.annotations.get(REQUEST_HASH) != digest:
        raise InvalidArgumentsError(
            "idempotency_key was used before with other arguments, for run"
            f" {row.run.metadata.name}. Use another key for another run."
        )
    return row
