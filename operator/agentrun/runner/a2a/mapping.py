"""
Mapping of a remote agent's messages to events, and of its task's end to the run's. Pure.

It reads the SDK's messages as JSON. A task's state arrives as updates of a stream, or as snapshots
of the whole task. Both map to the same events, and nothing is emitted twice.
"""

import hashlib
import json
from typing import Any

from agentrun.api.bounded_json import ANSWER, fault_of
from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import OutcomeState, Reason
from agentrun.backends.remote_a2a import REMOTE_A2A
from agentrun.runner.a2a.messages import render, render_made, text_of
from agentrun.runner.answer_check import check_apart
from agentrun.runner.outcome import End

Draft = tuple[EventType, dict[str, Any]]
Raw = dict[str, Any]

ARTIFACTS_BOUND = 4 * 1024 * 1024
"""The limit for a task's buffered artifacts, as JSON. Each is emitted before it is discarded."""

WAITING = {"input-required": EventType.INPUT_REQUIRED, "auth-required": EventType.AUTH_REQUIRED}
FINAL = frozenset({"completed", "failed", "canceled", "rejected"})
# The end of a task is not yet the end of its run: only the journal's seal states that.
_STATUS = {
    "submitted": "queued", "input-required": "input_required", "auth-required": "auth_required",
}  # fmt: skip


class TaskMapper:
    """Maps the tasks of a remote agent, one after the other."""

    def __init__(self, agent_url: str, agent_name: str) -> None:
        self.agent_url = agent_url
        self._agent_name = agent_name
        self.context_id: str | None = None
        self.task_id: str | None = None
        self.state = ""
        self.status_text = ""
        """The newest status message as text."""
        self._replied: str | None = None
        self._seen: set[str] = set()
        self._artifacts: dict[str, Raw] = {}
        self._size = 0
        self._pending: list[str] = []
        self._told: dict[str, str] = {}
        """By artifact, a digest of what was emitted."""
        self._looked_at: dict[str, str] = {}

    @property
    def is_settled(self) -> bool:
        """Whether the task is final or waits for input, or the agent replied with a message."""
        return self.state in FINAL or self.state in WAITING or self._replied is not None

    @property
    def remote_ref(self) -> Raw:
        """Return the ids of the remote agent's side of the run."""
        return {
            "provider": REMOTE_A2A.name,
            "agent_url": self.agent_url, "agent_name": self._agent_name,
            "context_id": self.context_id, "task_id": self.task_id,
        }  # fmt: skip

    @property
    def final_response(self) -> str | None:
        """The answer: the artifacts' text, else the agent's reply, else the status text."""
        made = [one.get("parts", []) for one in self._artifacts.values()]
        texts = [text for parts in made if (text := text_of(parts))]
        if not texts:
            texts = [render([part for parts in made for part in parts])]
        return "\n\n".join(texts) or self._replied or self.status_text or None

    @property
    def structured(self) -> Any:
        """The first data part of the artifacts; None if there is none."""
        for artifact in self._artifacts.values():
            for part in artifact.get("parts", []):
                if "data" in part:
                    return part["data"]
        return None

    @property
    def artifacts(self) -> list[Raw]:
        """The task's artifacts, without their content."""
        names = {"artifact_id": "artifactId", "name": "name", "description": "description"}
        return [
            {name: one[key] for name, key in names.items() if one.get(key)}
            for one in self._artifacts.values()
        ]

    def begin_turn(self, new_task: bool) -> None:
        """Reset the state before a message: to the same task, or to a new one."""
        self.state, self.status_text, self._replied = "", "", None
        if new_task:
            self.task_id = None
            self._artifacts, self._size, self._pending = {}, 0, []
            self._told, self._looked_at = {}, {}

    def feed(self, event: Raw) -> list[Draft]:
        """Map one message of the stream, or a snapshot, and return its events."""
        if "artifactUpdate" in event:
            return self._artifact(event["artifactUpdate"])
        drafts = self.flush()
        if "task" in event:
            return drafts + self._task(event["task"])
        if "statusUpdate" in event:
            update = event["statusUpdate"]
            self._note_ids(update.get("taskId"), update.get("contextId"))
            return drafts + self._status(update.get("status", {}))
        if "message" in event:
            message = event["message"]
            self._note_ids(message.get("taskId"), message.get("contextId"))
            self._replied = render(message.get("parts", []))
            return drafts + self._message(message)
        return drafts

    def flush(self) -> list[Draft]:
        """Return events for the artifacts that arrived in pieces."""
        pending, self._pending = self._pending, []
        return [draft for key in pending for draft in self._emit(key, from_snapshot=False)]

    def finish(self) -> list[Draft]:
        """Return events for everything not emitted yet, at the end of the task."""
        keys = [*self._artifacts]
        return self.flush() + [one for key in keys for one in self._emit(key, from_snapshot=True)]

    def _is_whole(self, key: str) -> bool:
        """
        Whether an artifact is complete: unchanged since the last snapshot, or the task is settled.
        """
        digest = _digest(self._artifacts[key])
        is_same, self._looked_at[key] = self._looked_at.get(key) == digest, digest
        return is_same or self.is_settled

    def _note_ids(self, task: str | None, context: str | None) -> None:
        self.task_id = task or self.task_id
        self.context_id = context or self.context_id

    def _task(self, task: Raw) -> list[Draft]:
        self._note_ids(task.get("id"), task.get("contextId"))
        drafts: list[Draft] = []
        for message in task.get("history", []):
            if _role(message) == "agent":
                drafts += self._message(message)
        reported = self._status(task.get("status", {}))
        for artifact in task.get("artifacts", []):
            key = self._buffer(artifact)
            if self._is_whole(key):
                drafts += self._emit(key, from_snapshot=True)
        return drafts + reported

    def _status(self, status: Raw) -> list[Draft]:
        state = _state(status.get("state", ""))
        message = status.get("message")
        drafts = self._message(message) if message else []
        self.status_text = render(message.get("parts", [])) if message else ""
        if state != self.state:
            self.state = state
            data = {"status": _STATUS.get(state, "running"), "state": state, **self._ids()}
            drafts.append((EventType.STATUS_CHANGED, {**data, "remote_ref": self.remote_ref}))
        return drafts

    def _message(self, message: Raw) -> list[Draft]:
        key = message.get("messageId") or json.dumps(message, sort_keys=True)
        if key in self._seen:
            return []
        self._seen.add(key)
        text, role = render(message.get("parts", [])), _role(message)
        added = {"message": message, "role": role, "text": text}
        drafts: list[Draft] = [(EventType.MESSAGE_ADDED, added)]
        if role == "agent" and text:
            drafts.append((EventType.AGENT_MESSAGE, {"text": text, **self._ids()}))
        return drafts

    def _artifact(self, update: Raw) -> list[Draft]:
        self._note_ids(update.get("taskId"), update.get("contextId"))
        artifact = update.get("artifact", {})
        key = artifact.get("artifactId", "")
        drafts = [] if key in self._pending else self.flush()
        if update.get("append") and key in self._artifacts:
            self._append(self._artifacts[key], artifact.get("parts", []))
        else:
            self._buffer(artifact)
        if key not in self._pending:
            self._pending.append(key)
        return drafts + (self.flush() if update.get("lastChunk") else [])

    def _buffer(self, given: Raw) -> str:
        artifact = {"artifactId": "", "parts": [], **given}
        key: str = artifact["artifactId"]
        before = self._artifacts.get(key, {"parts": []})
        self._size += _size(artifact["parts"]) - _size(before["parts"])
        self._artifacts[key] = artifact
        return key

    def _append(self, artifact: Raw, parts: list[Raw]) -> None:
        size = _size(parts)
        if artifact.get("is_cut") or self._size + size > ARTIFACTS_BOUND:
            artifact["is_cut"] = True
            return
        self._size += size
        for part in parts:
            last = artifact["parts"][-1] if artifact["parts"] else {}
            if set(part) == {"text"} and set(last) == {"text"}:
                last["text"] += part["text"]
            else:
                artifact["parts"].append(part)

    def _release(self, artifact: Raw) -> None:
        """Discard an emitted artifact's content, if all artifacts together exceed the limit."""
        if self._size > ARTIFACTS_BOUND:
            self._size -= _size(artifact["parts"])
            artifact |= {"parts": [], "is_gone": True}

    def _emit(self, key: str, from_snapshot: bool) -> list[Draft]:
        artifact = self._artifacts[key]
        if artifact.get("is_gone"):
            return []
        whole = _digest(artifact)
        if self._told.get(key) == whole:
            self._release(artifact)
            return []
        self._told[key] = whole
        data = {
            "artifact_id": key, "name": artifact.get("name"),
            "description": artifact.get("description"), "parts": artifact["parts"],
            "text": render_made(artifact["parts"]) or None, **self._ids(),
            "from_task_snapshot": from_snapshot,
        }  # fmt: skip
        if artifact.get("is_cut"):
            data["truncated"] = True
        self._release(artifact)
        return [(EventType.ARTIFACT_ADDED, {k: v for k, v in data.items() if v is not None})]

    def _ids(self) -> Raw:
        return {"task_id": self.task_id, "context_id": self.context_id}


def _digest(artifact: Raw) -> str:
    return hashlib.sha256(json.dumps(artifact, sort_keys=True).encode()).hexdigest()


def _size(parts: list[Raw]) -> int:
    return len(json.dumps(parts))


def _state(name: str) -> str:
    return name.removeprefix("TASK_STATE_").lower().replace("_", "-") or "working"


def _role(message: Raw) -> str:
    return "agent" if message.get("role") == "ROLE_AGENT" else "user"


def end_of(task: TaskMapper) -> End:
    """Return how the run ends."""
    response, text = task.final_response, task.status_text
    match task.state:
        case "failed":
            message = text or "The remote agent's task failed; it gave no reason."
            return End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, message, response)
        case "rejected":
            message = text or "The remote agent declined the task; it gave no reason."
            return End(OutcomeState.REJECTED, Reason.REFUSED, message, response)
        case "canceled":
            message = (
                text or "The remote agent's task was cancelled on its server, not by this run."
            )
            return End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, message, response)
    data = task.structured
    if fault := fault_of(data, "the first data part", ANSWER):
        message = f"There is no structured answer: {fault} The event of its artifact contains it."
        return End(OutcomeState.COMPLETED, Reason.COMPLETED, message, response)
    return End(OutcomeState.COMPLETED, Reason.COMPLETED, "", response, data)


def final_data(task: TaskMapper, state: OutcomeState) -> dict[str, Any]:
    """Return what the run's final event states of the task, as far as it is known."""
    reported: dict[str, Any] = {"task_id": task.task_id, "context_id": task.context_id}
    if state is not OutcomeState.REJECTED:
        reported["agent_url"] = task.agent_url
    reported = {key: value for key, value in reported.items() if value}
    return (
        {**reported, "artifacts": task.artifacts} if state is OutcomeState.COMPLETED else reported
    )


async def check_structured(task: TaskMapper, schema: dict[str, Any]) -> Any:
    """
    Return the structured answer: a data part, else JSON in the text.

    Raises ValueError if it does not match the schema.
    """
    data = task.structured
    if fault := fault_of(data, "the answer", ANSWER):
        raise ValueError(fault)
    text = json.dumps(data) if data is not None else task.final_response
    return await check_apart(text or "", schema)
