"""
Builds the manifests and patches that continue runs: answers, resumed sessions, repeated tasks.

The functions are pure. Errors say what to do instead.
"""

import hashlib
import json
from typing import Any

from agentrun.api.messages import AgentMessage
from agentrun.api.pod_layout import ANSWER_KEY
from agentrun.api.v1alpha1 import AgentRun, AgentRunSpec, AgentSession, Input, SessionSpec
from mcp_server.runs.manifests import MAX_REQUEST_BYTES, reason_of, run_manifest, session_manifest
from mcp_server.schemas.arguments import InvalidArgumentsError, check_message

_MAX_INPUTS = 100
_MAX_PARTS = 32


def check_answer(message: AgentMessage) -> None:
    """Raise InvalidArgumentsError for a message that is invalid or too large for an answer."""
    check_message(message)
    size = len(message.model_dump_json(exclude_none=True).encode())
    if size > MAX_REQUEST_BYTES:
        raise InvalidArgumentsError(
            f"input_message has {size} bytes; the maximum is {MAX_REQUEST_BYTES}. Put large input"
            " where the agent can fetch it, and refer to it in the message."
        )


def earlier_answer(run: AgentRun, message: AgentMessage) -> Input | None:
    """Find an identical answer that is not acknowledged yet, so that it is not added twice."""
    asked, agent = _question_of(run), run.status.agent
    known = (agent.acknowledged_input if agent else None) or 0
    on_their_way = (one for one in run.spec.inputs if one.seq > known and one.question_id == asked)
    return next((one for one in on_their_way if one.message == message), None)


def digest_of_key(caller: str, key: str) -> str:
    """Return a digest of an idempotency key, so that readers of runs cannot use the key."""
    return hashlib.sha256("\0".join((caller, key)).encode()).hexdigest()


def with_answer(run: AgentRun, message: AgentMessage, key: str | None) -> int | None:
    """
    Return the number of the answer that was added with the key digest ``key``, if any.

    It does not expire: the run may have asked another question since, or have ended. Raises
    InvalidArgumentsError if the key was used with another message.
    """
    for one in run.spec.inputs:
        if key and run.metadata.annotations.get(f"{ANSWER_KEY}{one.seq}") == key:
            if one.message != message:
                raise InvalidArgumentsError(
                    "idempotency_key was used before with another answer to run"
                    f" {run.metadata.name}. Use another key for another answer."
                )
            return one.seq
    return None


def build_answer(
    run: AgentRun, message: AgentMessage, key: str | None = None
) -> tuple[dict[str, Any], int]:
    """
    Build the patch that answers ``run``; return it with the answer's number.

    The key digest ``key`` is stored with the answer, to identify a repeated request. Raises
    InvalidArgumentsError if the run has too many answers, or they are too large.
    """
    name, inputs = run.metadata.name, run.spec.inputs
    if len(inputs) >= _MAX_INPUTS:
        raise InvalidArgumentsError(
            f"run {name} has had {_MAX_INPUTS} answers, the maximum. Cancel it with"
            " cancel_run, then start a new run with spawn_run."
        )
    seq = run.newest_input + 1
    answer = Input(seq=seq, question_id=_question_of(run), message=message)
    written = [one.to_json() for one in (*inputs, answer)]
    if len(json.dumps(written).encode()) > MAX_REQUEST_BYTES:
        raise InvalidArgumentsError(
            f"The answers to run {name} would exceed {MAX_REQUEST_BYTES} bytes in total. Put large"
            " input where the agent can fetch it, and refer to it in the message."
        )
    # A merge patch replaces the whole list: with the resourceVersion, a concurrent answer causes a
    # conflict instead of being lost.
    meta: dict[str, Any] = {
        "uid": run.metadata.uid,
        "resourceVersion": run.metadata.resource_version,
    }
    if key is not None:
        meta["annotations"] = {f"{ANSWER_KEY}{seq}": key}
    return {"metadata": meta, "spec": {"inputs": written}}, seq


def check_resumable(run: AgentRun, session: AgentSession | None) -> AgentSession:
    """Return the session. Raises InvalidArgumentsError if it has nothing to resume from."""
    name = run.metadata.name
    if session is None:
        raise InvalidArgumentsError(
            f"Unknown session_id: {run.session_name}. The conversation of run {name} no longer"
            " exists: call continue_run with from_start true to repeat its task."
        )
    if session.status.may_be_resumed:
        return session
    raise InvalidArgumentsError(
        f"run {run.phase.status} before the backend session became resumable: {name}."
        f"{reason_of(session)}"
        " Call continue_run with from_start true to repeat its task."
    )


def build_resumption(
    run: AgentRun, run_id: str, message: AgentMessage, requested_by: str
) -> dict[str, Any]:
    """Build the run that continues the conversation of a run that has ended."""
    session = SessionSpec(mode="resume", name=run.session_name)
    spec = _copy_of(run, session, {"prompt": None, "input_message": message})
    return run_manifest(spec, run_id, requested_by, digest_of(run, message, from_start=False))


def build_repetition(
    run: AgentRun, run_id: str, message: AgentMessage | None, requested_by: str
) -> dict[str, Any]:
    """Build the run that repeats the task of another; ``message`` is added to the task."""
    task = _together(run.spec.input_message, message)
    session = SessionSpec(mode="new", name=run_id)
    spec = _copy_of(run, session, {"input_message": task})
    return run_manifest(spec, run_id, requested_by, digest_of(run, message, from_start=True))


def build_session_for(run: AgentRun, run_id: str) -> dict[str, Any]:
    """Build the session of a run that repeats a task."""
    return session_manifest(run_id, run_id, run.spec.backend)


def digest_of(run: AgentRun, message: AgentMessage | None, *, from_start: bool) -> str:
    """Return a digest of the request; it identifies a repeated request."""
    content = message.model_dump(mode="json") if message else None
    text = json.dumps([run.metadata.uid, from_start, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _question_of(run: AgentRun) -> str | None:
    question = run.status.agent.question if run.status.agent else None
    return question.id if question else None


def _copy_of(run: AgentRun, session: SessionSpec, changed: dict[str, Any]) -> AgentRunSpec:
    """Copy the spec of ``run`` without its state and parent: the parent may be another one."""
    fresh = AgentRunSpec.model_fields["inputs"].default
    update = {
        "session": session,
        "resumed_from": run.metadata.name,
        "parent": None,
        "inputs": list(fresh),
        "desired_state": AgentRunSpec.model_fields["desired_state"].default,
        "cancellation": None,
        **changed,
    }
    return run.spec.model_copy(update=update)


def _together(task: AgentMessage | None, more: AgentMessage | None) -> AgentMessage | None:
    if task is None or more is None:
        return task or more
    parts = [*task.parts, *more.parts]
    if len(parts) > _MAX_PARTS:
        raise InvalidArgumentsError(
            f"The task and input_message have {len(parts)} parts in total; the maximum is"
            f" {_MAX_PARTS}. Use fewer parts."
        )
    return task.model_copy(update={"parts": parts})
