"""Git workspaces: cloned, changed by an agent that nobody trusts, and collected."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agentrun.api.v1alpha1 import GitSource
from agentrun.runner.git.change import Author, Change, Collector
from agentrun.runner.git.git import Git
from agentrun.runner.git.workspace import Base, clone, working_folder
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.outcome import AttemptError

AUTHOR = Author("Runner", "runner@example.com")


def git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]
    done = subprocess.run(
        ["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with two commits, a tag and a branch."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a.txt").write_text("one\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    git(folder, "tag", "v1")
    (folder / "b.txt").write_text("two\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "second")
    git(folder, "branch", "other", "v1")
    return folder


class Place:
    """A workspace, and the runner's folders beside it."""

    def __init__(self, root: Path, origin: Path) -> None:
        self.origin = origin
        self.workspace = root / "workspace"
        self.git = Git(root / "git", root / "no-credentials", Redactor())
        self.private = root / "private"
        self.left_out: list[str] = []

    async def clone(self, ref: str | None = None, **more: object) -> Base:
        source = GitSource.model_validate({"url": f"file://{self.origin}", "ref": ref, **more})
        return await clone(self.git, source, "run-1", self.workspace, self.private)

    async def collect(self, base: Base) -> tuple[Change, str]:
        collector = Collector(self.git, base, self.workspace)
        change = await collector.collect("run-1", AUTHOR)
        patch = self.private / "patch"
        self.left_out = await collector.write_patch(change, patch)
        return change, patch.read_text()


@pytest.fixture
def place(tmp_path: Path, origin: Path) -> Place:
    return Place(tmp_path, origin)


@pytest.mark.parametrize(
    ("ref", "files"),
    [
        pytest.param(None, {"a.txt", "b.txt"}, id="default"),
        pytest.param("main", {"a.txt", "b.txt"}, id="branch"),
        pytest.param("v1", {"a.txt"}, id="tag"),
    ],
)
async def test_clone_checks_the_ref_out_on_a_branch_of_its_own(
    place: Place, ref: str | None, files: set[str]
) -> None:
    base = await place.clone(ref)
    assert {path.name for path in place.workspace.iterdir()} == {".git", *files}
    assert git(place.workspace, "branch", "--show-current") == base.branch == "agentrun/run-1"
    assert git(place.workspace, "rev-parse", "HEAD") == base.commit


async def test_the_agent_finds_an_ordinary_repository(place: Place) -> None:
    base = await place.clone("main")
    assert git(place.workspace, "status", "--porcelain") == ""
    assert git(place.workspace, "remote", "get-url", "origin") == f"file://{place.origin}"
    assert git(place.workspace, "rev-parse", "origin/main") == base.commit
    assert git(place.workspace, "fsck") == ""
    assert not (place.private / "agentrun-made").exists()


async def test_line_ends_and_ignored_files_follow_the_repository(place: Place) -> None:
    base = await place.clone()
    (place.workspace / ".gitattributes").write_text("*.txt text\n")
    (place.workspace / ".gitignore").write_text("build/\n")
    (place.workspace / "build").mkdir()
    (place.workspace / "build/out").write_text("left out\n")
    (place.workspace / "windows.txt").write_bytes(b"a\r\nb\r\n")
    (place.workspace / "program").write_text("#!/bin/sh\n")
    (place.workspace / "program").chmod(0o755)
    change, _ = await place.collect(base)
    listed = git(place.private, "ls-tree", "-r", "--format=%(objectmode) %(path)", change.head)
    assert set(listed.splitlines()) == {
        "100644 .gitattributes", "100644 .gitignore", "100644 a.txt", "100644 b.txt",
        "100755 program", "100644 windows.txt",
    }  # fmt: skip
    assert git(place.private, "cat-file", "-s", f"{change.head}:windows.txt") == "4"


async def test_a_file_may_become_a_folder_and_a_folder_a_file(place: Place) -> None:
    (place.origin / "d").mkdir()
    (place.origin / "d/x").write_text("x\n")
    git(place.origin, "add", "-A")
    git(place.origin, "commit", "-qm", "third")
    base = await place.clone()
    (place.workspace / "a.txt").unlink()
    (place.workspace / "a.txt").mkdir()
    (place.workspace / "a.txt/inner").write_text("1\n")
    shutil.rmtree(place.workspace / "d")
    (place.workspace / "d").write_text("2\n")
    change, _ = await place.collect(base)
    listed = git(place.private, "ls-tree", "-r", "--name-only", change.head)
    assert listed.splitlines() == ["a.txt/inner", "b.txt", "d"]


@pytest.mark.parametrize("length", [pytest.param(40, id="full"), pytest.param(9, id="short")])
async def test_clone_finds_a_commit(place: Place, length: int) -> None:
    commit = git(place.origin, "rev-parse", "v1")
    assert (await place.clone(commit[:length])).commit == commit


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param({"ref": "no-such-branch"}, "'no-such-branch'", id="ref"),
        pytest.param({"ref": "0123456789abcdef"}, "'0123456789abcdef'", id="commit"),
        pytest.param({"ref": "--upload-pack=x"}, "is not a branch", id="option"),
        pytest.param({"branch": "bad..name"}, "'bad..name'", id="branch"),
        pytest.param({"url": "file:///no/such/place"}, "/no/such/place", id="url"),
        pytest.param({"url": "file:///no/such/place"}, "check the URL", id="advice"),
    ],
)
async def test_failed_clone_reports_the_reason(
    place: Place, more: dict[str, str], message: str
) -> None:
    with pytest.raises(AttemptError) as raised:
        await place.clone(**{"ref": None, **more})
    assert raised.value.reason == "CloneFailed"
    assert message in raised.value.message


async def test_url_that_contains_a_command_runs_nothing(place: Place, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    with pytest.raises(AttemptError, match="'ext' not allowed"):
        await place.clone(url=f"ext::sh -c touch% {trap}")
    assert not trap.exists()


async def test_config_of_a_repository_left_by_an_earlier_agent_is_ignored(
    place: Place, tmp_path: Path
) -> None:
    trap = tmp_path / "sprung"
    place.workspace.mkdir()
    git(place.workspace, "init", "-q")
    hook = tmp_path / "hooks" / "post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)
    git(place.workspace, "config", "core.hooksPath", str(hook.parent))
    with pytest.raises(AttemptError, match="already contains a repository"):
        await place.clone()
    assert not trap.exists()


async def test_no_change_creates_no_commit(place: Place) -> None:
    base = await place.clone()
    change, patch = await place.collect(base)
    assert (change.is_empty, change.files_changed, patch) == (True, 0, "")
    assert change.result(None).commit is None


async def test_commits_and_uncommitted_files_are_one_change(place: Place) -> None:
    base = await place.clone()
    (place.workspace / "c.txt").write_text("three\n")
    git(place.workspace, "add", "-A")
    git(place.workspace, "commit", "-qm", "the agent's own")
    (place.workspace / "a.txt").write_text("one\nmore\n")
    (place.workspace / "b.txt").unlink()
    change, patch = await place.collect(base)
    assert (change.files_changed, change.insertions, change.deletions) == (3, 2, 1)
    log = git(place.private, "log", "--format=%an %s", change.head).splitlines()
    assert log[:2] == ["Runner Commit the agent's uncommitted changes", "a the agent's own"]
    assert all(name in patch for name in ("a.txt", "b.txt", "c.txt"))


async def test_change_applies_to_what_was_cloned(place: Place) -> None:
    base = await place.clone()
    (place.workspace / "picture").write_bytes(bytes(range(256)))
    _, patch = await place.collect(base)
    file = place.private / "again.diff"
    file.write_text(patch)
    git(place.origin, "apply", str(file))
    assert (place.origin / "picture").read_bytes() == bytes(range(256))


@pytest.mark.slow
async def test_large_files_do_not_use_the_runners_memory(
    tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 48 * 1024 * 1024
    (origin / "gone").write_bytes(b"\0" * size)
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "large")
    # The runner's git may not hold one of these files.
    bounded = tmp_path / "bin" / "git"
    bounded.parent.mkdir()
    bounded.write_text(f'#!/bin/sh\nulimit -d {size // 1024}\nexec {shutil.which("git")} "$@"\n')
    bounded.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{bounded.parent}:{os.environ['PATH']}")
        place = Place(tmp_path, origin)
    base = await place.clone()
    (place.workspace / "gone").unlink()
    (place.workspace / "committed").write_bytes(b"\1" * size)
    git(place.workspace, "add", "committed")
    git(place.workspace, "commit", "-qm", "also large")
    (place.workspace / "lög").write_bytes(b"a line of a log " * (size // 16))
    (place.workspace / "a.txt").write_text("one\nmore\n")
    change, patch = await place.collect(base)
    assert change.files_changed == 4
    assert place.left_out == ["committed", "gone", "lög"]
    assert "+more" in patch
    assert len(patch) < 1000


async def test_deleted_repository_does_not_lose_the_change(place: Place) -> None:
    base = await place.clone()
    shutil.rmtree(place.workspace / ".git")
    (place.workspace / "new.txt").write_text("kept\n")
    change, patch = await place.collect(base)
    assert change.files_changed == 1
    assert "+kept" in patch


async def test_pipe_in_place_of_a_file_does_not_lose_the_change(place: Place) -> None:
    base = await place.clone()
    (place.workspace / "a.txt").unlink()
    os.mkfifo(place.workspace / "a.txt")
    (place.workspace / "new.txt").write_text("kept\n")
    change, patch = await place.collect(base)
    assert change.files_changed == 1
    assert "+kept" in patch


async def test_malicious_workspace_runs_nothing(place: Place, tmp_path: Path) -> None:
    base = await place.clone()
    trap = tmp_path / "sprung"
    command = f"touch {trap}; cat"
    nested = place.workspace / "nested"
    nested.mkdir()
    git(nested, "init", "-q")
    for folder in (place.workspace, nested):
        for key in ("core.fsmonitor", "core.sshCommand", "filter.t.clean", "filter.t.process",
                    "diff.t.command", "diff.t.textconv", "uploadpack.packObjectsHook",
                    "core.pager", "diff.external"):  # fmt: skip
            git(folder, "config", key, command)
        git(folder, "config", "core.hooksPath", str(folder / "hooks"))
        (folder / "hooks").mkdir()
        for hook in ("pre-commit", "post-index-change", "reference-transaction", "post-checkout"):
            (folder / "hooks" / hook).write_text(f"#!/bin/sh\n{command}\n")
            (folder / "hooks" / hook).chmod(0o755)
        (folder / ".gitattributes").write_text("* filter=t diff=t\n")
        (folder / "a.txt").write_text("changed\n")
    change, patch = await place.collect(base)
    assert not trap.exists()
    assert "+changed" in patch
    assert "Subproject" not in patch
    assert change.files_changed >= 2


async def test_submodules_do_not_change(place: Place) -> None:
    commit = git(place.origin, "rev-parse", "HEAD")
    entry = f"160000,{commit},sub"
    git(place.origin, "update-index", "--add", "--cacheinfo", entry)
    git(place.origin, "commit", "-qm", "with a submodule")
    base = await place.clone()
    (place.workspace / "new.txt").write_text("new\n")
    change, patch = await place.collect(base)
    assert (change.files_changed, "Subproject" in patch) == (1, False)


def test_working_folder_stays_inside_the_workspace(tmp_path: Path) -> None:
    assert working_folder(tmp_path, None) == tmp_path
    assert working_folder(tmp_path, "/workspace/src") == tmp_path / "src"
    assert working_folder(tmp_path, "src/inner") == tmp_path / "src/inner"
    with pytest.raises(AttemptError, match="outside the workspace"):
        working_folder(tmp_path, "../elsewhere")
