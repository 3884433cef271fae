"""Taking of snapshots: the conversation's files and the workspace, packed and stored as blobs."""

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agentrun.api.gateway import Task
from agentrun.api.quantities import parse
from agentrun.api.resolve import workspace_of
from agentrun.api.v1alpha1 import Snapshot
from agentrun.backends import backend_of
from agentrun.runner.children import ChildError, Reach, ask_module
from agentrun.runner.gateway import Gateway, GatewayError, retry_while_unavailable
from agentrun.runner.git.git import Git, GitError
from agentrun.runner.git.workspace import AGENT_HEAD, Base
from agentrun.runner.layout import Layout
from agentrun.runner.snapshot import manifest, worker
from agentrun.runner.snapshot.manifest import DriverState, KeptChange, Manifest, Part, WorkspaceKind
from agentrun.runner.snapshot.worker import HOME, REPOSITORY, WORKSPACE

_MIB = 1024 * 1024

log = logging.getLogger(__name__)


class SnapshotError(Exception):
    """No snapshot could be taken. The message says why, and what to do."""


@dataclass
class SnapshotWriter:
    """Takes snapshots. The agent should have ended by then; concurrent changes do no harm."""

    layout: Layout
    gateway: Gateway
    git: Git
    patience: float

    async def take(self, task: Task, state: DriverState, base: Base | None) -> Snapshot:
        """Take a snapshot and store it. Raises SnapshotError if that fails."""
        folder = self.layout.spool / "snapshot"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            found = await self._describe(task, state, base)
            found.parts = await self._pack(task, found, folder)
            await self._store(found, folder)
        except (GatewayError, GitError, ChildError, OSError) as error:
            raise SnapshotError(f"The conversation could not be stored: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Snapshot(
            name=f"snapshots/{found.attempt}",
            session_id=found.session_id,
            acknowledged_input=found.acknowledged_input,
            size_bytes=found.size,
            taken_at=found.taken_at,
        )

    async def _describe(self, task: Task, state: DriverState, base: Base | None) -> Manifest:
        is_remote = backend_of(task.spec.backend).is_remote
        # A remote agent stores its conversation itself, and has changed no file of the pod.
        base = None if is_remote else base
        return Manifest(
            run=task.uid,
            run_id=task.run_id,
            attempt=task.attempt,
            backend=task.spec.backend,
            session_id=state.session_id,
            remote_task=state.remote_task,
            acknowledged_input=state.acknowledged,
            delivered_message=state.delivered,
            taken_at=datetime.now(UTC),
            workspace="none" if is_remote else _kind(task, base),
            change=await self._change(base) if base else None,
            question=state.question,
            question_call=state.question_call,
            usage=state.usage,
            cost_usd=state.cost,
        )

    async def _change(self, base: Base) -> KeptChange:
        # There is no branch if the change was not collected, or if nothing was ever committed.
        head = await self._commit(base, f"refs/heads/{base.branch}") or base.commit
        # The agent may have left no usable repository, or no commit in an empty one.
        agent_head = await self._commit(base, AGENT_HEAD)
        agent_head = agent_head or (base.commit if base.is_unborn else head)
        return KeptChange(
            url_digest=base.url_digest,
            branch=base.branch,
            base=base.commit,
            head=head,
            agent_head=agent_head,
        )

    async def _commit(self, base: Base, ref: str) -> str | None:
        args = ("rev-parse", "--verify", "-q", f"{ref}^{{commit}}")
        try:
            return (await self.git.run(*args, repository=base.private)).strip()
        except GitError:
            return None

    async def _pack(self, task: Task, found: Manifest, folder: Path) -> list[Part]:
        if backend_of(found.backend).is_remote:
            return []
        allowed = task.profile.sessions.max_snapshot_size
        sources = self._sources(found)
        job = {
            "do": "pack",
            "folder": str(folder),
            "limit": int(parse(allowed)),
            "part_bytes": manifest.PART_BYTES,
            "backend": found.backend,
            "sources": {name: str(path) for name, path in sources.items()},
        }
        reach = Reach(reads=tuple(sources.values()), writes=(folder,))
        answer = await ask_module(worker.__name__, job, reach)
        if "failed" in answer:
            raise SnapshotError(f"The conversation could not be stored: {answer['failed']}")
        if "too_large" in answer:
            sizes = ", ".join(
                f"{name} {size / _MIB:.1f} MiB" for name, size in answer["too_large"].items()
            )
            message = (
                f"The conversation and its workspace ({sizes}, before compression) are larger"
                f" than {allowed}, the profile's sessions.maxSnapshotSize: no snapshot was stored,"
                " so they cannot be resumed. Raise the limit, or have the agent leave fewer files."
            )
            raise SnapshotError(message)
        if answer["left_out"]:
            log.warning("The snapshot leaves out: %s", "; ".join(answer["left_out"]))
        return [Part.model_validate(one) for one in answer["parts"]]

    def _sources(self, found: Manifest) -> dict[str, Path]:
        sources = {HOME: self.layout.home}
        if found.workspace == "files":
            sources[WORKSPACE] = self.layout.workspace
        if found.workspace == "git":
            sources[REPOSITORY] = self.layout.repository
        return sources

    async def _store(self, found: Manifest, folder: Path) -> None:
        # The manifest comes last, so that all parts that it lists are stored.
        for part in found.parts:
            await self._put(found, folder / part.name, part.size, "application/octet-stream")
            (folder / part.name).unlink()
        file = folder / manifest.FILE
        file.write_text(found.model_dump_json(exclude_none=True), encoding="utf-8")
        await self._put(found, file, file.stat().st_size, "application/json")

    async def _put(self, found: Manifest, file: Path, size: int, media_type: str) -> None:
        name = f"snapshots/{found.attempt}/{file.name}"
        await retry_while_unavailable(
            lambda: self.gateway.put_blob(name, file, size, media_type), self.patience
        )


def _kind(task: Task, base: Base | None) -> WorkspaceKind:
    workspace = workspace_of(task.spec, task.profile)
    if base is not None:
        return "git"
    return "none" if workspace.volume else "files"
