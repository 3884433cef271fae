"""Restoring of snapshots: their files are put back where they were."""

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from agentrun.api.gateway import Task
from agentrun.api.resolve import workspace_of
from agentrun.api.v1alpha1 import Reason
from agentrun.runner.children import ChildError, Reach, ask_module
from agentrun.runner.gateway import (
    Gateway,
    GatewayConflictError,
    GatewayRefusedError,
    GatewayUnavailableError,
    retry_while_unavailable,
)
from agentrun.runner.git.git import Git, GitError
from agentrun.runner.git.workspace import (
    BASE,
    CLONE_SECONDS,
    INDEX,
    Base,
    branch_of,
    check_out,
    hand_over,
    index_env,
)
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError
from agentrun.runner.snapshot import manifest, worker
from agentrun.runner.snapshot.manifest import KeptChange, Manifest, Part, ResumePoint
from agentrun.runner.snapshot.worker import HOME, REPOSITORY, WORKSPACE

_AGAIN = (
    "To do the work without the earlier conversation, start a new run without session.mode: resume"
    " (continue_run with from_start)."
)

T = TypeVar("T")


@dataclass
class Restorer:
    """Restores snapshots before the agent starts."""

    layout: Layout
    gateway: Gateway
    git: Git
    patience: float

    async def find(self, task: Task) -> ResumePoint | None:
        """
        Read the manifest of the task's snapshot; None if the run starts anew.

        Raises AttemptError if the snapshot is missing or cannot be used.
        """
        if task.snapshot is None:
            session = task.spec.session
            if session is not None and session.mode == "resume":
                raise _lost("There is no snapshot of the session's conversation.")
            return None
        file = self._folder() / manifest.FILE
        await self._ask(lambda: self.gateway.get_snapshot(manifest.FILE, file))
        try:
            found = Manifest.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise _lost(f"The snapshot's manifest cannot be read: {error}") from error
        if found.version != manifest.VERSION:
            raise _lost(
                f"The snapshot is of version {found.version}, written by another version of"
                " AgentRun."
            )
        if found.backend != task.spec.backend:
            raise _lost(f"The conversation is one of {found.backend}, not {task.spec.backend}.")
        return ResumePoint(found, found.run == task.uid)

    async def restore(self, origin: ResumePoint, task: Task) -> None:
        """Restore the files of conversation and workspace. Raises AttemptError if that fails."""
        parts = [await self._fetch(part) for part in origin.manifest.parts]
        targets = await self._targets(origin, task)
        job = {
            "do": "unpack",
            "parts": [str(one) for one in parts],
            "targets": {name: (str(path), outer) for name, (path, outer) in targets.items()},
            "backend": origin.manifest.backend,
            "session_id": origin.manifest.session_id,
        }
        # Each part is removed after it was read.
        reach = Reach(writes=(self._folder(), *(path for path, _ in targets.values())))
        try:
            answer = await ask_module(worker.__name__, job, reach)
        except ChildError as error:
            raise _lost(f"The snapshot cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(self._folder(), ignore_errors=True)
        if "failed" in answer:
            raise _lost(f"The snapshot cannot be unpacked: {answer['failed']}")

    async def _targets(self, origin: ResumePoint, task: Task) -> Mapping[str, tuple[Path, bool]]:
        """Map the archive's folders to paths, and to whether links may lead out of them."""
        layout, workspace = self.layout, workspace_of(task.spec, task.profile)
        targets = {HOME: (layout.home, False)}
        if origin.kept_change(task):
            await self.git.init(layout.repository)
            targets[REPOSITORY] = (layout.repository, False)
        elif not workspace.git and not workspace.volume:
            # As files, they do no harm.
            targets[WORKSPACE] = (layout.workspace, True)
        for path, _ in targets.values():
            path.mkdir(parents=True, exist_ok=True)
        return targets

    async def _fetch(self, part: Part) -> Path:
        file = self._folder() / part.name
        await self._ask(lambda: self.gateway.get_snapshot(part.name, file))
        digest = await asyncio.to_thread(_digest, file)
        if digest != part.sha256:
            raise _lost(f"The snapshot's {part.name} does not match its digest.")
        return file

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await retry_while_unavailable(ask, self.patience)
        except GatewayUnavailableError as error:
            message = f"The snapshot could not be read: {error}"
            raise AttemptError(Reason.STORE_UNAVAILABLE, message) from error
        except (GatewayRefusedError, GatewayConflictError) as error:
            raise _lost(f"The snapshot of the conversation is no longer stored: {error}") from error

    def _folder(self) -> Path:
        folder = self.layout.spool / "restored"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


async def restore_workspace(
    git: Git, kept: KeptChange, origin: ResumePoint, task: Task, layout: Layout
) -> Base:
    """
    Recreate the git workspace from the runner's restored private repository.

    A later attempt of the same run resumes where it was: uncommitted changes are uncommitted again.
    Another run starts from the earlier run's collected change.
    """
    source = workspace_of(task.spec, task.profile).git
    assert source is not None, "kept_change has looked"
    workspace, private = layout.workspace, layout.repository
    branch = kept.branch if origin.is_own else branch_of(source, task.run_id)
    commit = kept.base if origin.is_own else kept.head
    try:
        # The runner writes no alternates: they would make git read objects from elsewhere.
        (private / "objects/info/alternates").unlink(missing_ok=True)
        await check_out(git, private, workspace, kept.head)
        at = kept.head
        if origin.is_own:
            at = kept.agent_head
            await _reset_index(git, private, workspace, at)
        base = Base(source.url, branch, commit, private)
        await hand_over(git, base, workspace, at)
        await git.run("update-ref", BASE, commit, repository=private)
    except FileExistsError as error:
        raise _lost("The git workspace cannot be restored: one exists already.") from error
    except (GitError, OSError) as error:
        raise _lost(f"The git workspace cannot be restored: {error}") from error
    return base


async def _reset_index(git: Git, private: Path, workspace: Path, commit: str) -> None:
    """Reset the index to ``commit``, so that differences from it are uncommitted."""
    env = index_env(private / INDEX)
    await git.run("read-tree", commit, repository=private, env=env)
    await git.run(
        "update-index", "-q", "--refresh",
        repository=private, work_tree=workspace, reads=[workspace], env=env, seconds=CLONE_SECONDS,
    )  # fmt: skip


def _lost(what: str) -> AttemptError:
    return AttemptError(Reason.SESSION_NOT_RESUMABLE, f"{what} {_AGAIN}")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
