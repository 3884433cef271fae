"""Going on from a snapshot: its files are put where they were."""

import asyncio
import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import Reason, Workspace
from agentrun.runner.gateway import Conflict, Gateway, Refused, Unavailable
from agentrun.runner.git import Git, GitError
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import Failure
from agentrun.runner.patience import patiently
from agentrun.runner.snapshot import manifest
from agentrun.runner.snapshot.gemini import keep_conversation
from agentrun.runner.snapshot.manifest import KeptChange, Manifest, Part
from agentrun.runner.snapshot.take import HOME, REPOSITORY, WORKSPACE
from agentrun.runner.snapshot.unpack import Target, Unsafe, unpack
from agentrun.runner.workspace import Base, branch_of, digest_of

_AGAIN = (
    "To do the work without what was said before, start a new run without session.mode: resume"
    " (continue_run with from_start)."
)

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """What an attempt goes on from."""

    manifest: Manifest
    is_own: bool
    """Whether an earlier attempt of the same run left it, and not an earlier run."""

    def kept_change(self, task: Task) -> KeptChange | None:
        """Return where the git workspace was, if the task asks for the same repository."""
        wanted = _workspace(task).git
        kept = self.manifest.change
        if wanted is None or kept is None or kept.url_digest != digest_of(wanted.url):
            return None
        return kept


@dataclass
class Restorer:
    """Restores snapshots, before the agent begins."""

    layout: Layout
    gateway: Gateway
    git: Git
    patience: float

    async def find(self, task: Task) -> Origin | None:
        """Read what the task's snapshot says of itself; None if the run begins anew."""
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
            raise _lost(f"The snapshot is of version {found.version}, made by another AgentRun.")
        if found.backend != task.spec.backend:
            raise _lost(f"The conversation is one of {found.backend}, not {task.spec.backend}.")
        return Origin(found, found.run == task.uid)

    async def restore(self, origin: Origin, task: Task) -> None:
        """Put the conversation's files, and those of the workspace, where they were."""
        parts = [await self._fetch(part) for part in origin.manifest.parts]
        targets = await self._targets(origin, task)
        try:
            await asyncio.to_thread(unpack, parts, targets)
        except (Unsafe, OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
            raise _lost(f"The snapshot cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(self._folder(), ignore_errors=True)
        if origin.manifest.backend == "gemini":
            keep_conversation(self.layout.home, origin.manifest.session_id)

    async def _targets(self, origin: Origin, task: Task) -> Mapping[str, Target]:
        targets = {HOME: Target(self.layout.home)}
        if origin.kept_change(task):
            await self.git.run("init", "-q", "--bare", str(self.layout.repository))
            targets[REPOSITORY] = Target(self.layout.repository)
        elif not _workspace(task).git and not _workspace(task).volume:
            targets[WORKSPACE] = Target(self.layout.workspace, outer_links=True)
        return targets

    async def _fetch(self, part: Part) -> Path:
        file = self._folder() / part.name
        await self._ask(lambda: self.gateway.get_snapshot(part.name, file))
        digest = await asyncio.to_thread(_digest, file)
        if digest != part.sha256:
            raise _lost(f"The snapshot's {part.name} is not what was kept.")
        return file

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await patiently(ask, self.patience)
        except Unavailable as error:
            message = f"The snapshot could not be read: {error}"
            raise Failure(Reason.STORE_UNAVAILABLE, message) from error
        except (Refused, Conflict) as error:
            raise _lost(
                f"The snapshot of the conversation is not kept any more: {error}"
            ) from error

    def _folder(self) -> Path:
        folder = self.layout.spool / "restored"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


async def restore_workspace(
    git: Git, kept: KeptChange, origin: Origin, task: Task, layout: Layout
) -> Base:
    """
    Make the git workspace again from the runner's restored private repository.

    The same run goes on where it was: what was not committed is not committed. For another run
    the earlier one's change, as it was collected, is where it begins.
    """
    source = _workspace(task).git
    assert source is not None, "kept_change has looked"
    workspace, private = layout.workspace, layout.repository
    branch = kept.branch if origin.is_own else branch_of(source, task.run_id)
    commit = kept.base if origin.is_own else kept.head
    try:
        await git.run("init", "-q", "-b", branch, str(workspace))
        await git.run("remote", "add", "origin", source.url, cwd=workspace)
        await asyncio.to_thread(
            shutil.copytree, private / "objects", workspace / ".git/objects", dirs_exist_ok=True
        )
        if (private / "shallow").exists():
            shutil.copyfile(private / "shallow", workspace / ".git/shallow")
        await git.run("checkout", "-q", "-B", branch, kept.head, cwd=workspace, seconds=900)
        if origin.is_own:
            await git.run("reset", "-q", "--mixed", kept.agent_head, cwd=workspace, seconds=900)
        await git.run("update-ref", "refs/agentrun/base", commit, cwd=private)
    except GitError as error:
        raise _lost(f"The git workspace cannot be made again: {error}") from error
    return Base(source.url, branch, commit, private)


def _workspace(task: Task) -> Workspace:
    return task.spec.workspace or task.profile.workspace or Workspace()


def _lost(what: str) -> Failure:
    return Failure(Reason.SESSION_NOT_RESUMABLE, f"{what} {_AGAIN}")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
