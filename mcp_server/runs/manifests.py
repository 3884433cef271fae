"""
Converts tool arguments to manifests, or rejects them.

Error messages are read by models, so they say what to do instead. The functions are pure: they read
no clock and do no I/O.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from agentrun.api.git_access import branch_refusal, repository_refusal
from agentrun.api.names import agent_name
from agentrun.api.output_schema import check_bounds as check_schema_bounds
from agentrun.api.pod_layout import (
    LABEL_BACKEND,
    LABEL_RUN,
    LABEL_SESSION,
    REQUEST_HASH,
    REQUESTED_BY,
)
from agentrun.api.remote import read_remote_config
from agentrun.api.resolve import Refusal, profile_refusal
from agentrun.api.v1alpha1 import (
    API_VERSION,
    GIT_URL,
    GIT_URL_REFUSED,
    AgentProfile,
    AgentProfileSpec,
    AgentRun,
    AgentRunSpec,
    AgentSession,
    AgentSessionSpec,
    Backend,
    SessionSpec,
    Timeouts,
    Workspace,
    default_profile,
)
from agentrun.backends import backend_of
from mcp_server.schemas.arguments import (
    InvalidArgumentsError,
    absolute_cwd,
    check_bounds,
    check_message,
)
from mcp_server.schemas.runs import SpawnArguments
from mcp_server.schemas.strict import problems

MAX_REQUEST_BYTES = 512 * 1024
"""The maximum size of the arguments: the object, with status and answers, stays below 1 MiB."""

CREDENTIALS = ("auth_token", "headers")
"""The keys of the arguments' `backend_config` that have a remote agent's credentials."""
REFERENCE = "credentials_secret"
"""The key in `spec.backendConfig` that names their Secret; callers must not set it."""


def check_arguments(arguments: SpawnArguments) -> None:
    """Raise InvalidArgumentsError for arguments that are invalid in any state of the cluster."""
    check_bounds(arguments, "The arguments")
    size = len(arguments.model_dump_json(exclude_none=True).encode())
    if size > MAX_REQUEST_BYTES:
        raise InvalidArgumentsError(
            f"The arguments have {size} bytes; the maximum is {MAX_REQUEST_BYTES}. Put large input"
            " into the git repository or the volume that the agent works on."
        )
    if arguments.session_mode == "resume" and not arguments.session_id:
        raise InvalidArgumentsError("session_id is required when session_mode is resume")
    if not (arguments.prompt or "").strip() and arguments.input_message is None:
        raise InvalidArgumentsError("Either prompt or input_message is required")
    if arguments.input_message is not None:
        check_message(arguments.input_message)
    _check_backend_config(arguments)
    _check_repository(arguments)
    absolute_cwd(arguments.cwd)
    if arguments.nickname and not agent_name(arguments.nickname):
        raise InvalidArgumentsError(
            f"nickname needs at least one letter or digit: {arguments.nickname}"
        )
    if arguments.output_schema is not None:
        try:
            check_schema_bounds(arguments.output_schema)
        except ValueError as error:
            raise InvalidArgumentsError(f"output_schema is invalid: {error}") from error


def unknown_profile(name: str, offered: Iterable[AgentProfile]) -> InvalidArgumentsError:
    """Return the error for a profile that does not exist; it lists the existing ones."""
    known = sorted(f"{one.metadata.name} ({one.spec.backend})" for one in offered)
    return InvalidArgumentsError(
        f"Unknown profile: {name}. Profiles in this namespace: {', '.join(known) or 'none'}."
        " Give one of them as profile, with its backend."
    )


def check_profile(arguments: SpawnArguments, profile: AgentProfile) -> None:
    """Raise InvalidArgumentsError if the profile does not allow the arguments."""
    name = profile.metadata.name
    spec = profile.spec
    volume = arguments.workspace.volume if arguments.workspace else None
    if refusal := profile_refusal(spec, arguments.backend, arguments.model, volume):
        raise InvalidArgumentsError(_describe(refusal, name))
    source = arguments.workspace.git if arguments.workspace else None
    message = source and (
        repository_refusal(spec, name, source.url) or branch_refusal(spec, name, source)
    )
    if message:
        raise InvalidArgumentsError(message)


def _describe(refusal: Refusal, profile: str) -> str:
    allowed = ", ".join(refusal.allowed) or "none"
    if refusal.field == "backend":
        return f"Profile {profile} is for backend {allowed}, not {refusal.asked}."
    return f"Profile {profile} does not allow {refusal.field} {refusal.asked}. Allowed: {allowed}."


def check_session(arguments: SpawnArguments, session: AgentSession) -> None:
    """Raise InvalidArgumentsError if the run cannot resume the session."""
    given, name = arguments.session_id, session.metadata.name
    if session.spec.backend != arguments.backend:
        raise InvalidArgumentsError(
            f"Session {given} is bound to backend {session.spec.backend}, not {arguments.backend}"
        )
    if not session.status.may_be_resumed:
        raise InvalidArgumentsError(
            f"Session {given} has no backend session id yet. There is nothing to resume:"
            f" use session_mode new.{reason_of(session)}"
        )
    if arguments.nickname and agent_name(arguments.nickname) != name:
        raise InvalidArgumentsError(
            f"Session {given} is already named {name}, not {arguments.nickname}"
        )


def reason_of(session: AgentSession) -> str:
    """Return why the session has no snapshot, to be appended to a message; empty if unknown."""
    error = session.status.snapshot_error
    return f" {error}" if error else ""


def profile_name(arguments: SpawnArguments) -> str:
    """Return the name of the profile that the run will use."""
    return arguments.profile or default_profile(arguments.backend)


def request_hash(arguments: SpawnArguments) -> str:
    """
    Return a digest of the arguments; it identifies a repeated request.

    They must be without credentials: readers of runs could use the digest to guess them.
    """
    text = json.dumps(arguments.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def build_session(arguments: SpawnArguments, run_id: str) -> dict[str, Any]:
    """Build the AgentSession of a new conversation; a label names the run that started it."""
    name = agent_name(arguments.nickname or "") or run_id
    display = arguments.nickname if arguments.nickname and arguments.nickname != name else None
    return session_manifest(name, run_id, arguments.backend, display)


def session_manifest(
    name: str, run_id: str, backend: Backend, display: str | None = None
) -> dict[str, Any]:
    """Build the AgentSession that the run with this id starts."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentSession",
        "metadata": {"name": name, "labels": {LABEL_RUN: run_id, LABEL_BACKEND: backend}},
        "spec": AgentSessionSpec(backend=backend, display_name=display).to_json(),
    }


def build_run(
    arguments: SpawnArguments,
    run_id: str,
    session: str,
    requested_by: str,
    profile: AgentProfileSpec,
) -> dict[str, Any]:
    """
    Build the AgentRun for ``arguments``, which must be without credentials.

    Raises InvalidArgumentsError if they are invalid.
    """
    try:
        spec = AgentRunSpec(
            backend=arguments.backend,
            role=arguments.role,
            prompt=arguments.prompt if (arguments.prompt or "").strip() else None,
            input_message=arguments.input_message,
            profile=profile_name(arguments),
            model=arguments.model or None,
            workspace=_workspace(arguments, profile),
            session=SessionSpec(mode=arguments.session_mode, name=session),
            output_schema=arguments.output_schema,
            metadata=arguments.metadata,
            backend_config=arguments.backend_config,
            timeouts=Timeouts(**arguments.timeouts.model_dump()) if arguments.timeouts else None,
        )
    except ValidationError as error:
        raise InvalidArgumentsError(
            f"The arguments are not valid for a run: {problems(error)}"
        ) from error
    return run_manifest(spec, run_id, requested_by, request_hash(arguments))


def run_manifest(spec: AgentRunSpec, run_id: str, requested_by: str, digest: str) -> dict[str, Any]:
    """Build an AgentRun; ``digest`` identifies a repeated request."""
    session = spec.session.name if spec.session else None
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentRun",
        "metadata": {
            "name": run_id,
            "labels": {LABEL_SESSION: session, LABEL_BACKEND: spec.backend},
            "annotations": {REQUESTED_BY: requested_by, REQUEST_HASH: digest},
        },
        "spec": spec.to_json(),
    }


def build_cancellation(
    run: AgentRun, requested_by: str, reason: str | None
) -> dict[str, Any] | None:
    """Build the patch that cancels ``run``; None if its cancellation is already requested."""
    if run.is_cancel_requested:
        return None
    spec: dict[str, Any] = {"desiredState": "Cancelled"}
    if run.spec.cancellation is None:
        details = {"requestedBy": requested_by[:1024], "reason": (reason or "")[:1024] or None}
        spec["cancellation"] = {key: value for key, value in details.items() if value}
    # The uid keeps the patch from changing another run that has taken the name.
    return {"metadata": {"uid": run.metadata.uid}, "spec": spec}


def _workspace(arguments: SpawnArguments, profile: AgentProfileSpec) -> Workspace | None:
    cwd = absolute_cwd(arguments.cwd) if arguments.cwd else None
    if arguments.workspace is not None:
        given = arguments.workspace
        return Workspace(git=given.git, volume=given.volume or None, cwd=cwd)
    if cwd is None:
        return None
    # A run's workspace replaces the profile's; a cwd alone is one in the profile's workspace.
    return (profile.workspace or Workspace()).model_copy(update={"cwd": cwd})


def _check_backend_config(arguments: SpawnArguments) -> None:
    given = arguments.backend_config or {}
    if REFERENCE in given:
        raise InvalidArgumentsError(
            f"backend_config.{REFERENCE} is not accepted: the caller cannot choose the Secret of a"
            " run. Give the credentials as auth_token or headers."
        )
    is_remote = backend_of(arguments.backend).is_remote
    if is_remote and not given.get("agent_url"):
        raise InvalidArgumentsError(
            "backend_config.agent_url is required when backend is remote_a2a"
        )
    if is_remote:
        _check_remote_config(given)
        _check_credentials(given)
        return
    for key in CREDENTIALS:
        if key in given:
            raise InvalidArgumentsError(
                f"backend_config.{key} is not accepted: all users with permission to read runs"
                " would see it. Put credentials into a Secret that the profile names."
            )


def _check_remote_config(given: dict[str, Any]) -> None:
    try:
        read_remote_config(given)
    except ValueError as error:
        raise InvalidArgumentsError(f"backend_config.{error}") from error


def _check_credentials(given: dict[str, Any]) -> None:
    if not isinstance(given.get("auth_token") or "", str):
        raise InvalidArgumentsError("backend_config.auth_token must be a string")
    headers = given.get("headers") or {}
    is_map = isinstance(headers, dict) and all(isinstance(one, str) for one in headers.values())
    if not is_map:
        raise InvalidArgumentsError("backend_config.headers must be an object of strings")


def _check_repository(arguments: SpawnArguments) -> None:
    given = arguments.workspace.git if arguments.workspace else None
    if given and not re.match(GIT_URL, given.url):
        raise InvalidArgumentsError(f"workspace.git.url {given.url!r}: {GIT_URL_REFUSED}")
