"""
Encoding of runs, events and messages for the store, and tolerant decoding.

Pure, and shared by all stores. Only what can be read back is written: a run that exceeds the limits
is stored without the excess, with an annotation that says so, and other input is rejected. Decoding
a run never fails: what an older version or another writer wrote and cannot be read is returned as a
row with its name and the reason, so that other rows remain readable.
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
    """The columns of a run beside its document."""

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
    """Encode a run that ``storable`` has returned."""
    return json.dumps(_document(run), separators=(",", ":"))


def storable(run: AgentRun) -> AgentRun:
    """
    Return ``run`` in a form that can be read back: nearly always unchanged.

    Otherwise the excess is left out, with an annotation that says why; in the worst case only a
    name and a reason remain.
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
    """
    Decode a run; if that fails, its readable part, or in the worst case its name and the reason.
    """
    try:
        return AgentRun.model_validate_json(document)
    except (ValueError, RecursionError):
        # Rare: the tolerant decoding takes longer.
        return _read_in_part(document, name)


def read_parent_uid(document: str) -> str:
    """Decode only the uid of a run's parent; empty if there is none or it cannot be read."""
    try:
        uid = read_kept(document)["spec"]["parent"]["uid"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    return plain(uid) if isinstance(uid, str) and len(uid) <= _UID_CHARS else ""


def _read_in_part(document: str, name: RunName) -> AgentRun:
    try:
        return AgentRun.model_validate(readable(read_kept(document), STORED))
    except (ValueError, RecursionError) as error:
        return _stub(name, f"It is stored, but cannot be read: {error}")


def _document(run: AgentRun) -> dict[str, Any]:
    # Without warnings: validation when it is read back finds what is invalid.
    return run.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)


def name_of(run: AgentRun) -> RunName:
    """Return the columns of a run beside its document."""
    meta = run.metadata
    return RunName(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        created=int(run.created.timestamp()) if run.created else 0,
        phase=run.phase.value,
        backend=run.spec.backend,
        cwd=run.cwd,
        session_name=run.session_name,
    )


def is_stub(run: AgentRun) -> bool:
    """Whether a run consists only of its name and the reason."""
    return UNREADABLE in run.metadata.annotations and not run.metadata.resource_version


def write_data(data: Any) -> str:
    """Encode an event's data, or a message, as JSON. Raises NotStorableError for invalid data."""
    try:
        check(data, "What is to be kept", STORED)
    except UnreadableJsonError as error:
        raise NotStorableError(str(error)) from error
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def read_data(text: str) -> Any:
    """Decode what ``write_data`` wrote. Raises UnreadableJsonError for anything else."""
    return read(text, "What is kept", STORED)


def plain(text: str) -> str:
    """Return a text that a column can hold: without NUL and halves of surrogate pairs."""
    return str(mended(text, "The text")[0])


def _stub(name: RunName, reason: str, version: str = "") -> AgentRun:
    # Not validated: the columns may be as invalid as the document.
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
