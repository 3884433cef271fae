"""
The end of an attempt: the collection of the change, the final events, the outcome.

The outcome is sent to the gateway after everything else. Only if the gateway does not accept it
within a timeout, the container's termination message is the only record of it.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agentrun.api.bounded_json import SENT, fault_of
from agentrun.api.events import EventType
from agentrun.api.gateway import MAX_BLOB_BYTES, Task
from agentrun.api.git_access import push_refusal
from agentrun.api.v1alpha1 import Outcome, OutcomeState, Reason, Result, Usage
from agentrun.runner.gateway import (
    Gateway,
    GatewayConflictError,
    GatewayRefusedError,
    retry_while_unavailable,
)
from agentrun.runner.git.change import Change, Collector, author_of, bounded
from agentrun.runner.git.git import Git, GitError
from agentrun.runner.git.workspace import Base
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.journal.spool import StoredBlob, encode
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import End, build_outcome, termination_message

MAX_STRUCTURED_BYTES = 256 * 1024
"""The largest structured answer, as JSON, that is included in the run's status."""
_SUMMARY = 32_000
_MOST_LISTED = 100
_PATCH_CHUNK = 256 * 1024

log = logging.getLogger(__name__)


@dataclass
class OutcomeReporter:
    """Reports the change, the final events and the outcome of an attempt."""

    journal: Journal
    gateway: Gateway
    redactor: Redactor
    attempt: int
    termination_log: Path
    is_delivered: bool = False
    """Whether an outcome was posted, and accepted or refused."""

    async def change(
        self, git: Git, base: Base, layout: Layout, task: Task, end: End
    ) -> tuple[End, Result]:
        """Collect the change, store it as a patch, and push it if the profile says so."""
        collector = Collector(git, base, layout.workspace, layout.home)
        change = await collector.collect(task.run_id, author_of(task))
        self._name_left_out(change)
        if change.is_empty:
            return end, change.result(None)
        try:
            await self._keep_patch(collector, change)
        except (GitError, OSError) as error:
            self._note(f"The patch of the change could not be stored: {error}")
        is_wanted = task.profile.git.push and git.has_credentials
        if not is_wanted or end.state is not OutcomeState.COMPLETED:
            return end, change.result(None)
        if refusal := push_refusal(task.profile, base.url, base.branch):
            message = f"The change is not pushed: {refusal}. It is kept as a patch."
            refused = replace(
                end, state=OutcomeState.FAILED, reason=Reason.PUSH_REFUSED, message=message
            )
            return refused, change.result(False)
        if not git.fits(base.url):
            return end, change.result(None)
        try:
            await collector.push(change)
        except GitError as error:
            message = f"The change could not be pushed to {base.branch}: {error}"
            failed = replace(
                end, state=OutcomeState.FAILED, reason=Reason.PUSH_FAILED, message=message
            )
            return failed, change.result(False)
        return end, change.result(True)

    def final_events(self, end: End, usage: Usage | None, more: Mapping[str, Any]) -> bool:
        """
        Add the agent's final event to the journal; the seal, not this event, closes it.

        False if the disk is full.
        """
        data = dict(more)
        if usage:
            data["usage"] = usage.model_dump(exclude_none=True)
        match end.state:
            case OutcomeState.COMPLETED:
                data["final_response"] = end.final_response
                if end.structured is not None:
                    data["structured_output"] = end.structured
                return self.journal.add(EventType.RUN_COMPLETED, data)
            case OutcomeState.REJECTED:
                return self.journal.add(EventType.REJECTED, {"message": end.message, **data})
            case OutcomeState.FAILED:
                failed = {"message": end.message, "reason": end.reason, **data}
                return self.journal.add(EventType.RUN_FAILED, failed)
        return True

    def outcome(self, end: End, result: Result | None) -> Outcome:
        """Build the outcome, without secrets."""
        # The replacement of a secret may be longer than it, so texts are cut after that.
        clean = Result.model_validate(self.redactor.data((result or Result()).model_dump()))
        clean.summary = self.redactor.text(end.final_response or "")[:_SUMMARY] or None
        clean.structured, left_out = _for_status(self.redactor.data(end.structured))
        told = " ".join(filter(None, (left_out, end.message, self.journal.losses)))
        end = replace(end, message=self.redactor.text(told))
        return build_outcome(end, clean, self.attempt, datetime.now(UTC))

    async def deliver(self, outcome: Outcome) -> None:
        """Post the outcome to the gateway. Retries forever while the gateway is unavailable."""

        def note(error: Exception) -> None:
            log.warning("The gateway does not accept the outcome: %s", error)

        try:
            await retry_while_unavailable(lambda: self.gateway.outcome(outcome), note=note)
        except (GatewayConflictError, GatewayRefusedError) as error:
            log.error("The gateway refuses the outcome: %s", error)
        self.is_delivered = True

    def write_termination_message(self, outcome: Outcome) -> None:
        """Write the outcome to the termination log, where the kubelet reads it."""
        try:
            self.termination_log.write_text(termination_message(outcome), encoding="utf-8")
        except OSError as error:
            log.error("The termination message cannot be written: %s", error)

    def undelivered(self, outcome: Outcome) -> Outcome:
        """Return a failed outcome, as events are not stored; an interrupted one is unchanged."""
        if outcome.state is OutcomeState.INTERRUPTED:
            return outcome
        message = f"The events could not be delivered: {self.journal.trouble}"
        return outcome.model_copy(
            update={
                "state": OutcomeState.FAILED,
                "reason": Reason.STORE_UNAVAILABLE.value,
                "message": self.redactor.text(message),
            }
        )

    def _name_left_out(self, change: Change) -> None:
        if change.left_out:
            listed = "\n".join(f"- {one}" for one in bounded(change.left_out, _MOST_LISTED))
            self._note(f"The change does not contain all of the agent's work:\n{listed}")

    def _note(self, text: str) -> None:
        text = self.redactor.text(text)
        log.warning("%s", text)
        self.journal.add(EventType.REASONING, {"text": text})

    async def _keep_patch(self, collector: Collector, change: Change) -> None:
        # A patch may be as large as the workspace; the repository's volume has space for it.
        raw = change.base.private / "agentrun.patch"
        left_out = await collector.write_patch(change, raw)
        if left_out:
            # A file's name may contain any bytes.
            names = ", ".join(left_out).encode(errors="replace").decode()
            self._note(f"The patch omits files that are too large for it: {names[:1000]}")
        size = raw.stat().st_size
        if size > MAX_BLOB_BYTES:
            self._note(
                f"The patch of {size} bytes is too large to be stored; the commit contains the"
                " change."
            )
            return
        file = self.journal.new_file()
        size = await asyncio.to_thread(self._clean, raw, file)
        name = f"artifacts/patch-{self.attempt}.diff"
        kind = "text/x-diff"
        ref = {
            "field_path": "/patch", "relpath": name, "mime": kind, "encoding": "utf-8",
            "total_bytes": size, "chunk_count": 1, "truncated": True,
        }  # fmt: skip
        data = {
            "artifact_id": "patch", "name": "patch.diff",
            "description": "Everything that changed since the clone, as a git patch.",
            "media_type": kind, "size": size, "relpath": name, "artifact_refs": {"/patch": ref},
        }  # fmt: skip
        self.journal.add(EventType.ARTIFACT_ADDED, data, StoredBlob(name, file, kind, size))

    def _clean(self, raw: Path, file: Path) -> int:
        """Copy a patch without the secrets in it, piece by piece, and return its size."""
        # Latin-1 decodes any bytes, so everything that is not a secret stays unchanged.
        with (
            raw.open(encoding="latin-1", newline="") as source,
            file.open("w", encoding="latin-1", newline="") as target,
        ):
            chunks = iter(lambda: source.read(_PATCH_CHUNK), "")
            target.writelines(self.redactor.stream(chunks))
        raw.unlink()
        return file.stat().st_size


def _for_status(answer: Any) -> tuple[Any, str]:
    """Return a structured answer, or None and why a run's status cannot hold it."""
    if fault := fault_of(answer, "The structured answer", SENT):
        # A part of an answer does not satisfy the schema that the whole answer satisfies.
        return None, f"{fault} It is not in the run's status."
    size = len(encode(answer))
    if size <= MAX_STRUCTURED_BYTES:
        return answer, ""
    return None, (
        f"The structured answer of {size} bytes is too large for the run's status: the event"
        " run_completed holds it, as the artifact /structured_output."
    )
