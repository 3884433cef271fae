"""
Writing runs, events and messages so that they can be read back, and reading what may not.

Pure, and shared by all stores. Writing is held to what reading takes: a run that goes beyond it is
kept without what is too much, with a mark that says so, and what somebody hands in is refused.
Reading never fails: what an older version wrote, or somebody else, and what cannot be read, stands
as a row with its name and the reason, so that it hides nothing beside it.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agentrun.api.bounded_json import STORED, UnreadableJsonError, check, mended, read, read_kept
from agentrun.api.quarantine import UNREADABLE, mark_of, readable
from agentrun.api.v1alpha1 import (
    AgentRun,
    AgentRunSpec,
    AgentRunStatus,
    ObjectMeta,
    Phase,
    SessionSpec,
    Workspace,
)
from agentrun.store.base import NotStorableError

_REASON_CHARS = 500
_UID_CHARS = 256


@dataclass(frozen=True)
class RunName:
    """What of a run stands beside its document."""

    uid: str
    namespace: str
    name: str
    created: int
    """In seconds since 1970."""
    phase: str
    backend: str
    cwd: str | None = None
    session_name: str = ""


def write_run(run: AgentRun) -> str:
    """Write a run that ``storable`` has returned."""
    return json.dumps(_document(run), separators=(",", ":"))


def storable(run: AgentRun) -> AgentRun:
    """
    Return ``run`` as it can be read back: nearly always as it is.

    Else without what is too much, with a mark that says why; at worst it is a name and a reason.
    """
    try:
        document = _document(run)
        whole = readable(document, STORED)
        found = run if whole is document else AgentRun.model_validate(whole)
        AgentRun.model_validate_json(write_run(found))
        return found
    except (ValueError, RecursionError) as error:
        reason = mark_of({"metadata": vars(run.metadata)}) or f"It cannot be read back: {error}"
        return _stub(name_of(run), reason, run.metadata.resource_version)


def read_run(document: str, name: RunName) -> AgentRun:
    """Read a run; of one that cannot be read, what can, or at worst its name and the reason."""
    try:
        return AgentRun.model_validate_json(document)
    except (ValueError, RecursionError):
        # Seldom: it is looked at more closely, which takes longer.
        return _read_in_part(document, name)


def read_parent_uid(document: str) -> str:
    """Read whose agent asked for a run, and no more of it; nothing if that cannot be read."""
    try:
        uid = read_kept(document)["spec"]["parent"]["uid"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    return plain(uid) if isinstance(uid, str) and len(uid) <= _UID_CHARS else ""


def _read_in_part(document: str, name: RunName) -> AgentRun:
    try:
        return AgentRun.model_validate(readable(read_kept(document), STORED))
    except (ValueError, RecursionError) as error:
        return _stub(name, f"It is kept, but cannot be read: {error}")


def _document(run: AgentRun) -> dict[str, Any]:
    # Without warnings: what is no AgentRun is seen when it is read back.
    return run.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)


def name_of(run: AgentRun) -> RunName:
    """Return what stands beside a run's document."""
    meta, spec = run.metadata, run.spec
    return RunName(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        created=int(run.created.timestamp()) if run.created else 0,
        phase=run.phase.value,
        backend=spec.backend,
        cwd=spec.workspace.cwd if spec.workspace else None,
        session_name=(spec.session.name if spec.session else None) or meta.name,
    )


def is_stub(run: AgentRun) -> bool:
    """Whether nothing is known of a run but its name, and why."""
    return UNREADABLE in run.metadata.annotations and not run.metadata.resource_version


def write_data(data: Any) -> str:
    """Write an event's data, or a message, as JSON. NotStorable for what cannot be read back."""
    try:
        check(data, "What is to be kept", STORED)
    except UnreadableJsonError as error:
        raise NotStorableError(str(error)) from error
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def read_data(text: str) -> Any:
    """Read what ``write_data`` wrote. UnreadableJson for anything else."""
    return read(text, "What is kept", STORED)


def plain(text: str) -> str:
    """Return a text that a column takes: without NUL and halves of surrogate pairs."""
    return str(mended(text, "The text")[0])


def _stub(name: RunName, reason: str, version: str = "") -> AgentRun:
    # Unchecked: what stands in the columns may be as odd as the document.
    meta = ObjectMeta.model_construct(
        name=name.name,
        namespace=name.namespace,
        uid=name.uid,
        resource_version=version,
        creation_timestamp=datetime.fromtimestamp(name.created, UTC) if name.created else None,
        annotations={UNREADABLE: reason[:_REASON_CHARS]},
    )
    given: dict[str, Any] = {
        "backend": name.backend,
        "prompt": "[This run cannot be shown.]",
        "session": SessionSpec.model_construct(name=name.session_name or None),
        "workspace": Workspace.model_construct(cwd=name.cwd) if name.cwd else None,
    }
    spec = AgentRunSpec.model_construct(**given)
    phase = Phase(name.phase) if name.phase in set(Phase) else None
    return AgentRun.model_construct(
        metadata=meta, spec=spec, status=AgentRunStatus.model_construct(phase=phase)
    )
