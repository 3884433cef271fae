"""
Identifies the run and the attempt that a request comes from.

The identity only comes from the token. A token stays valid for some seconds after its pod is
deleted, so it does not fence old attempts: the number of attempts, the pod's uid and the seal do.
Users who may create pods can create one with the name of a run's pod; therefore no request is
accepted before the operator has recorded the uid of the pod that it created.
"""

from dataclasses import dataclass, replace

from starlette.requests import Request

from agentrun.api.names import parse_pod_name, pod_name
from agentrun.api.v1alpha1 import AgentProfile, AgentRun
from agentrun.store.base import FencedError, RunRow, RunStore, SealedError
from mcp_server.gateway.ports import (
    ClusterUnavailableError,
    PodAuthenticator,
    PodIdentity,
    RunDirectory,
    UnauthenticatedError,
)
from mcp_server.gateway.problems import RequestError


@dataclass(frozen=True)
class RunnerIdentity:
    """The run and the attempt that a request comes from."""

    row: RunRow
    attempt: int

    @property
    def run(self) -> AgentRun:
        """The AgentRun."""
        return self.row.run

    @property
    def uid(self) -> str:
        """The run's uid."""
        return self.row.run.metadata.uid

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, so that writes are rejected."""
        return is_over(self.row)


def is_over(row: RunRow) -> bool:
    """Whether a run has ended."""
    return row.sealed or row.run.is_finished


def fence(run: AgentRun, attempt: int, pod: PodIdentity) -> str | None:
    """Return why ``pod`` is fenced from the attempt of ``run``; None if it is not."""
    name = run.metadata.name
    if attempt < run.attempts:
        return f"Attempt {run.attempts} of run {name} has started; this is attempt {attempt}."
    if attempt > run.attempts:
        return f"Run {name} has had {run.attempts} attempts; there is no attempt {attempt}."
    if is_known(run, pod) and run.status.pod_uid != pod.pod_uid:
        return f"Another pod named {pod.pod_name} belongs to run {name}; this is {pod.pod_uid}."
    return None


def is_known(run: AgentRun, pod: PodIdentity) -> bool:
    """Whether the status of ``run`` has the uid of the pod with that name."""
    # Until the operator has observed a new attempt's pod, the status may name the previous one.
    return run.status.pod_name == pod.pod_name and run.status.pod_uid is not None


class RunnerAuthenticator:
    """Authenticates the runners of requests."""

    def __init__(
        self, store: RunStore, runs: RunDirectory, authenticator: PodAuthenticator
    ) -> None:
        self._store = store
        self._runs = runs
        self._authenticator = authenticator

    async def identify(self, request: Request) -> RunnerIdentity:
        """
        Return the runner that sent ``request``.

        Raises UnauthenticatedError, FencedError, and ClusterUnavailableError, also until the
        operator has recorded the uid of the run's pod.
        """
        pod = await self._authenticator.authenticate(_bearer(request))
        parsed = parse_pod_name(pod.pod_name)
        if parsed is None or pod_name(*parsed) != pod.pod_name:
            raise FencedError(f"Pod {pod.pod_name} is not named like the pod of a run.")
        name, attempt = parsed
        row = await self._store.get_run(pod.namespace, name)
        if row is None or self._is_doubtful(row, attempt, pod):
            row = await self._look_again(pod.namespace, name, row)
        if row is None:
            raise FencedError(f"Namespace {pod.namespace} has no run {name}.")
        if reason := fence(row.run, attempt, pod):
            raise FencedError(reason)
        if not is_known(row.run, pod):
            message = f"It is not known yet which pod {pod.pod_name} belongs to run {name}:"
            raise ClusterUnavailableError(f"{message} the operator has not recorded its uid.")
        return RunnerIdentity(await self._with_session(row), attempt)

    async def identify_writer(self, request: Request) -> RunnerIdentity:
        """Return the runner that sent a write. Raises SealedError if the run has ended."""
        runner = await self.identify(request)
        if runner.is_over:
            raise SealedError(f"Run {runner.run.metadata.name} has ended.")
        return runner

    async def profile_of(self, runner: RunnerIdentity) -> AgentProfile:
        """Return the profile of the runner's run. Raises RequestError if it does not exist."""
        namespace, name = runner.run.metadata.namespace, runner.run.spec.profile_name
        profile = await self._runs.profile(namespace, name)
        if profile is None:
            message = f"Namespace {namespace} has no AgentProfile {name}."
            raise RequestError("not_found", f"{message} Create it, then try again.")
        return profile

    def _is_doubtful(self, row: RunRow, attempt: int, pod: PodIdentity) -> bool:
        """Whether the row may be older than the pod, or of an earlier run of the same name."""
        if fence(row.run, attempt, pod) or not is_known(row.run, pod):
            return True
        is_this_pod = row.run.status.pod_uid == pod.pod_uid
        return not is_this_pod and (is_over(row) or row.deleted_at is not None)

    async def _look_again(self, namespace: str, name: str, row: RunRow | None) -> RunRow | None:
        run = await self._runs.get(namespace, name)
        if run is None:
            return row
        await self._store.record_run(RunRow(run))
        return await self._store.get_run_by_uid(run.metadata.uid)

    async def _with_session(self, row: RunRow) -> RunRow:
        """Add the session uid before the first event is stored: events are immutable."""
        if row.session_uid or is_over(row):
            return row
        run = row.run
        session = await self._runs.session(run.metadata.namespace, run.session_name)
        if session is None:
            return row
        row = replace(row, session_uid=session.metadata.uid)
        await self._store.record_run(row)
        return row


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("Send the pod's token: Authorization: Bearer TOKEN.")
    return token.strip()
