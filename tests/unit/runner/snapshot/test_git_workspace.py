"""A git workspace that a snapshot takes from one pod to the next."""

import asyncio
import subprocess
from pathlib import Path
from typing import cast

from agentrun.api.gateway import Head, Task
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRunSpec, GitSource, Snapshot
from agentrun.runner.gateway import Gateway
from agentrun.runner.git.change import Author, Change, Collector
from agentrun.runner.git.git import Git
from agentrun.runner.git.workspace import Base, clone
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.snapshot.manifest import DriverState
from agentrun.runner.snapshot.restore import Restorer, restore_workspace
from agentrun.runner.snapshot.take import SnapshotWriter

IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@b"]
PATIENCE = 5


def git(folder: Path, *args: str) -> str:
    command = ["git", *IDENTITY, *args]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Store:
    """Stores the snapshot's files, as the gateway does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def put_blob(self, name: str, file: Path, _size: int, _kind: str) -> None:
        self.files[Path(name).name] = await asyncio.to_thread(file.read_bytes)

    async def get_snapshot(self, name: str, file: Path) -> None:
        await asyncio.to_thread(file.write_bytes, self.files[name])


class Pod:
    """One pod of a run that works on a repository."""

    def __init__(self, root: Path, origin: Path, store: Store) -> None:
        self.layout = Layout(root)
        for folder in (self.layout.workspace, self.layout.home, self.layout.spool):
            folder.mkdir(parents=True)
        self.git = Git(self.layout.spool / "git", self.layout.git_credentials, Redactor())
        self.gateway = cast(Gateway, store)
        self.source = GitSource(url=f"file://{origin}")
        spec = {"backend": "acp", "prompt": "x", "workspace": {"git": self.source.model_dump()}}
        self.task = Task(
            run_id="run-1", namespace="agents", uid="uid-1", attempt=1, session_id="s",
            agent_name="a", spec=AgentRunSpec.model_validate(spec),
            profile=AgentProfileSpec.model_validate({"backend": "acp", "image": "i"}),
            snapshot=Snapshot(name="snapshots/1", session_id="s", acknowledged_input=0),
            head=Head(last_seq=0, sealed=False),
        )  # fmt: skip

    async def clone(self) -> Base:
        layout = self.layout
        return await clone(self.git, self.source, "run-1", layout.workspace, layout.repository)

    async def collect(self, base: Base) -> Change:
        collector = Collector(self.git, base, self.layout.workspace, self.layout.home)
        return await collector.collect("run-1", Author("Runner", "r@example.com"))

    async def take(self, base: Base) -> None:
        writer = SnapshotWriter(self.layout, self.gateway, self.git, PATIENCE)
        await writer.take(self.task, DriverState("s", prompt_sent=True), base)

    async def restore(self) -> Base:
        restorer = Restorer(self.layout, self.gateway, self.git, PATIENCE)
        origin = await restorer.find(self.task)
        assert origin is not None
        await restorer.restore(origin, self.task)
        kept = origin.kept_change(self.task)
        assert kept is not None
        return await restore_workspace(self.git, kept, origin, self.task, self.layout)


def two_pods(tmp_path: Path, files: dict[str, str]) -> tuple[Pod, Pod]:
    """Return two pods of a run on a repository with these files, empty without any."""
    origin, store = tmp_path / "origin", Store()
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    for name, text in files.items():
        (origin / name).write_text(text)
    if files:
        git(origin, "add", "-A")
        git(origin, "commit", "-qm", "Begin")
    return Pod(tmp_path / "first", origin, store), Pod(tmp_path / "second", origin, store)


async def test_work_in_an_empty_repository_is_restored(tmp_path: Path) -> None:
    first, second = two_pods(tmp_path, {})
    base = await first.clone()
    (first.layout.workspace / "new.txt").write_text("the work\n")
    change = await first.collect(base)
    await first.take(base)
    restored = await second.restore()
    assert restored.is_unborn
    assert git(second.layout.workspace, "status", "--porcelain") == "?? new.txt"
    again = await second.collect(restored)
    trees = [git(base.private, "rev-parse", f"{change.head}^{{tree}}")]
    assert trees == [git(restored.private, "rev-parse", f"{again.head}^{{tree}}")]


async def test_an_unchanged_empty_repository_is_restored(tmp_path: Path) -> None:
    first, second = two_pods(tmp_path, {})
    base = await first.clone()
    assert (await first.collect(base)).is_empty
    await first.take(base)
    assert (await second.restore()).is_unborn


async def test_a_change_that_was_not_collected_does_not_prevent_the_snapshot(
    tmp_path: Path,
) -> None:
    first, second = two_pods(tmp_path, {"a.txt": "one\n"})
    base = await first.clone()
    (first.layout.workspace / "a.txt").write_text("two\n")
    await first.take(base)
    assert (await second.restore()).commit == base.commit
    assert (second.layout.workspace / "a.txt").read_text() == "one\n"


async def test_other_branches_than_that_of_the_change_are_restored(tmp_path: Path) -> None:
    first, second = two_pods(tmp_path, {"a.txt": "one\n"})
    base = await first.clone()
    workspace = first.layout.workspace
    git(workspace, "switch", "-qc", "fix/thing")
    (workspace / "a.txt").write_text("two\n")
    git(workspace, "commit", "-qam", "Fix the thing")
    commit = git(workspace, "rev-parse", "HEAD")
    git(workspace, "switch", "-q", base.branch)
    await first.collect(base)
    await first.take(base)
    await second.restore()
    assert git(second.layout.workspace, "rev-parse", "fix/thing") == commit
    assert git(second.layout.workspace, "branch", "--show-current") == base.branch
