"""What of an agent's work is collected, whatever it leaves in its workspace."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from agentrun.api.v1alpha1 import GitSource, Phase
from agentrun.runner.folders import Folder
from agentrun.runner.git import staging
from agentrun.runner.git.change import Author, Change, Collector, bounded
from agentrun.runner.git.git import Git
from agentrun.runner.git.workspace import Base, check_branch, clone, hand_over
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.outcome import AttemptError
from dev.failures import find
from tests.failures import check_end

AUTHOR = Author("Runner", "runner@example.com")


def git(folder: Path, *args: str, home: Path | None = None) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]
    env = {**os.environ, "HOME": str(home or "/nonexistent"), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *identity, *args], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.rstrip("\n")


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files, by their paths, with the folders above them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())


class Place:
    """A repository, an agent's workspace and home, and the runner's folders beside them."""

    def __init__(self, root: Path) -> None:
        self.origin = root / "origin"
        self.workspace = root / "workspace"
        self.home = root / "home"
        self.private = root / "private"
        self.home.mkdir()
        self.git = Git(root / "git", root / "no-credentials", Redactor())
        self.origin.mkdir()
        git(self.origin, "init", "-q", "-b", "main")

    def commit(self, files: Mapping[str, str]) -> None:
        write(self.origin, files)
        git(self.origin, "add", "-A")
        git(self.origin, "commit", "-qm", "Begin")

    async def clone(self, is_pushed: bool = False, **source: object) -> Base:
        wanted = GitSource.model_validate({"url": f"file://{self.origin}", **source})
        return await clone(
            self.git, wanted, "run-1", self.workspace, self.private, is_pushed=is_pushed
        )

    async def collect(self, base: Base) -> Change:
        collector = Collector(self.git, base, self.workspace, self.home)
        change = await collector.collect("run-1", AUTHOR)
        await collector.write_patch(change, self.private / "patch")
        return change

    def changed(self, change: Change) -> dict[str, str]:
        """Return the status of each changed path."""
        args = ("diff", "--name-status", "--no-renames", "-z", change.base.commit, change.head)
        fields = git(self.private, *args).split("\0")
        return dict(zip(fields[1::2], fields[::2], strict=False))

    def agent(self, *args: str) -> str:
        """Run git as the agent does."""
        return git(self.workspace, *args, home=self.home)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
async def base(place: Place) -> Base:
    """The clone of an ordinary repository."""
    place.commit({"README.md": "# demo\n", "src/a.py": "x\n", "docs/a.md": "d\n"})
    return await place.clone()


NAMES = [
    b"in\tout.csv",
    b"two\nlines",
    b'"quoted"',
    b"back\\slash",
    b"\xff\xfe not UTF-8",
    "ümlaut und 漢字".encode(),
    b" leading and trailing ",
    b"-rf",
    b":(exclude)x",
    b"*.py",
    b"x" * 255,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:12]))
async def test_a_file_of_any_name_is_collected(place: Place, base: Base, name: bytes) -> None:
    write(place.workspace, {"README.md": "the work\n"})
    write(place.workspace, {os.fsdecode(name): "1,2\n"})
    change = await place.collect(base)
    assert (change.files_changed, change.insertions, change.left_out) == (2, 2, ())


@pytest.mark.parametrize(
    "path",
    [".Git/config", "GIT~1", "src/.gIt", "git~1/x", ".git /x", ".git./x"],
)
async def test_a_path_that_git_refuses_is_named_and_the_rest_is_collected(
    place: Place, base: Base, path: str
) -> None:
    for number in range(5):
        write(place.workspace, {f"file{number}": "x\n"})
    (place.workspace / path).parent.mkdir(exist_ok=True, parents=True)
    (place.workspace / path).write_text("x\n")
    change = await place.collect(base)
    assert place.changed(change) == {f"file{number}": "A" for number in range(5)}
    (named,) = change.left_out
    assert named.startswith(f"{path}: ")


async def test_many_refused_files_take_a_bounded_number_of_retries(
    place: Place, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_MOST_SPLITS", 3)
    refused = {f"d{number}.rc": "x\n" for number in range(20)}
    attributes = {".gitattributes": "*.rc text working-tree-encoding=UTF-16\n"}
    write(place.workspace, {"README.md": "the work\n", **attributes, **refused})
    change = await place.collect(base)
    named = {one.partition(":")[0] for one in change.left_out}
    # What shares a batch with them may be left out, but never unnamed.
    assert named | {*place.changed(change)} == {"README.md", ".gitattributes", *refused}


@pytest.mark.parametrize("encoding", ["UTF-16", "no-such-encoding"])
async def test_a_file_that_git_cannot_convert_is_stored_as_it_is(
    place: Place, encoding: str
) -> None:
    place.commit({"README.md": "# demo\n"})
    base = await place.clone()
    write(place.workspace, {".gitattributes": f"*.rc text working-tree-encoding={encoding}\n"})
    write(place.workspace, {"README.md": "the work\n", "app.rc": "GREETING hi\n"})
    change = await place.collect(base)
    assert place.changed(change) == {".gitattributes": "A", "README.md": "M", "app.rc": "A"}
    assert git(place.private, "show", f"{change.head}:app.rc") == "GREETING hi"
    (named,) = change.left_out
    assert named.startswith("app.rc: stored without conversion")


async def test_a_folder_that_cannot_be_searched_is_named(
    place: Place, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str) -> bool:
        return path == "src" or path.startswith("src/")

    for name in ("folder", "status", "read"):
        monkeypatch.setattr(Folder, name, _failing(getattr(Folder, name), denied))
    write(place.workspace, {"README.md": "the work\n", "src/b.py": "y\n"})
    change = await place.collect(base)
    assert place.changed(change) == {"README.md": "M"}
    assert "src: Permission denied" in change.left_out


def _failing(function: Callable[..., object], is_denied: Callable[[str], bool]) -> object:
    def replaced(self: Folder, path: str = "", *args: object, **more: object) -> object:
        if is_denied(path):
            raise PermissionError(13, "Permission denied", path)
        return function(self, path, *args, **more)

    return replaced


async def test_folders_nested_too_deeply_to_be_read_are_named(place: Place, base: Base) -> None:
    write(place.workspace, {"README.md": "the work\n"})
    at = os.open(place.workspace, os.O_RDONLY)
    for _ in range(250):
        os.mkdir("deep", dir_fd=at)
        below = os.open("deep", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    change = await place.collect(base)
    assert place.changed(change) == {"README.md": "M"}
    assert any(one.startswith("deep/deep/") for one in change.left_out)


async def test_a_pipe_in_the_workspace_is_skipped(place: Place, base: Base) -> None:
    write(place.workspace, {"README.md": "the work\n"})
    os.mkfifo(place.workspace / "pipe")
    (place.workspace / "docs/a.md").unlink()
    os.mkfifo(place.workspace / "docs/a.md")
    change = await place.collect(base)
    assert place.changed(change) == {"README.md": "M"}
    assert change.left_out == ("docs/a.md: no file, folder or link",)


async def test_nothing_but_the_repository_stays_for_the_snapshot(place: Place) -> None:
    base = await windows(place)
    write(place.workspace, {"new.txt": "1\n"})
    place.agent("update-index", "--split-index", "--skip-worktree", "id.md")
    await place.collect(base)
    (place.private / "patch").unlink()
    working = {path.name for path in place.private.iterdir() if path.name.startswith("agentrun-")}
    assert working == {"agentrun-empty", "agentrun-index"}
    assert not list(place.private.glob("sharedindex.*"))


async def test_a_sparse_checkout_removes_no_file(place: Place, base: Base) -> None:
    place.agent("sparse-checkout", "set", "src")
    write(place.workspace, {"src/a.py": "y\n"})
    assert place.changed(await place.collect(base)) == {"src/a.py": "M"}


async def test_a_file_outside_a_sparse_checkout_is_collected(place: Place, base: Base) -> None:
    place.agent("sparse-checkout", "set", "src")
    write(place.workspace, {"docs/a.md": "y\n", "docs/new.md": "z\n"})
    assert place.changed(await place.collect(base)) == {"docs/a.md": "M", "docs/new.md": "A"}


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
@pytest.mark.parametrize("is_removed", [False, True], ids=["changed", "removed"])
async def test_a_change_that_the_index_hides_stays_hidden(
    place: Place, base: Base, flag: str, is_removed: bool
) -> None:
    place.agent("update-index", flag, "docs/a.md")
    write(place.workspace, {"README.md": "the work\n", "docs/a.md": "private\n"})
    if is_removed:
        (place.workspace / "docs/a.md").unlink()
    assert place.changed(await place.collect(base)) == {"README.md": "M"}


async def test_a_file_that_the_agent_untracks_is_removed_if_it_is_ignored(
    place: Place, base: Base
) -> None:
    write(place.workspace, {".gitignore": "docs/\n"})
    place.agent("rm", "-q", "--cached", "docs/a.md")
    change = await place.collect(base)
    assert place.changed(change) == {".gitignore": "A", "docs/a.md": "D"}


async def test_an_ignored_file_that_the_agent_adds_by_force_is_collected(
    place: Place, base: Base
) -> None:
    write(place.workspace, {".gitignore": "dist/\n", "dist/a.js": "1\n", "dist/b.js": "2\n"})
    place.agent("add", "-f", "dist/a.js")
    assert place.changed(await place.collect(base)) == {".gitignore": "A", "dist/a.js": "A"}


async def test_a_split_index_is_read(place: Place, base: Base) -> None:
    place.agent("update-index", "--split-index", "--skip-worktree", "docs/a.md")
    write(place.workspace, {"docs/a.md": "private\n", "README.md": "the work\n"})
    assert place.changed(await place.collect(base)) == {"README.md": "M"}


@pytest.mark.parametrize(
    "content", [b"", b"DIRC\0\0\0\x02\xff", None], ids=["empty", "bad", "none"]
)
async def test_without_a_usable_index_the_files_count(
    place: Place, base: Base, content: bytes | None
) -> None:
    index = place.workspace / ".git/index"
    index.unlink()
    if content is not None:
        index.write_bytes(content)
    write(place.workspace, {"README.md": "the work\n"})
    assert place.changed(await place.collect(base)) == {"README.md": "M"}


def exclude_in_the_repository(place: Place) -> None:
    (place.workspace / ".git/info").mkdir(exist_ok=True)
    (place.workspace / ".git/info/exclude").write_text("notes/\n.env.local\n")


def exclude_in_the_home(place: Place) -> None:
    write(place.home, {".config/git/ignore": "notes/\n.env.local\n"})


def exclude_by_a_setting_of_the_user(place: Place) -> None:
    write(place.home, {".gitconfig": "[core]\n\texcludesFile = ~/ignored\n"})
    write(place.home, {"ignored": "notes/\n.env.local\n"})


def exclude_by_a_setting_of_the_repository(place: Place) -> None:
    write(place.home, {"ignored": "notes/\n.env.local\n"})
    place.agent("config", "core.excludesFile", str(place.home / "ignored"))


@pytest.mark.parametrize(
    "exclude",
    [
        exclude_in_the_repository,
        exclude_in_the_home,
        exclude_by_a_setting_of_the_user,
        exclude_by_a_setting_of_the_repository,
    ],
    ids=lambda function: function.__name__,
)
async def test_files_that_the_agent_excludes_are_not_published(
    place: Place, base: Base, exclude: Callable[[Place], None]
) -> None:
    exclude(place)
    write(place.workspace, {"notes/plan.md": "my plan\n", ".env.local": "TOKEN=x\n"})
    write(place.workspace, {"README.md": "more\n"})
    assert place.agent("status", "--porcelain") == " M README.md"
    assert place.changed(await place.collect(base)) == {"README.md": "M"}


async def test_an_exclude_file_outside_of_the_agents_folders_is_not_read(
    place: Place, base: Base, tmp_path: Path
) -> None:
    write(tmp_path, {"secret": "README.md\nnew\n"})
    place.agent("config", "core.excludesFile", str(tmp_path / "secret"))
    (place.workspace / ".git/info/exclude").unlink(missing_ok=True)
    (place.workspace / ".git/info/exclude").symlink_to(tmp_path / "secret")
    write(place.workspace, {"new": "1\n"})
    assert place.changed(await place.collect(base)) == {"new": "A"}


async def test_modes_that_the_agents_git_ignores_do_not_change(place: Place, base: Base) -> None:
    place.agent("config", "core.fileMode", "false")
    (place.workspace / "README.md").chmod(0o755)
    write(place.workspace, {"src/a.py": "y\n"})
    (place.workspace / "src/a.py").chmod(0o755)
    change = await place.collect(base)
    assert place.changed(change) == {"src/a.py": "M"}
    assert git(place.private, "ls-tree", change.head, "src/").startswith("100644")


async def windows(place: Place) -> Base:
    place.commit({"notes.txt": "one\r\ntwo\r\n", "run.bat": "@echo off\r\n"})
    place.commit({".gitattributes": "*.txt text\n*.bat eol=crlf\n*.md ident\n"})
    place.commit({"id.md": "$Id: 1234 $\n"})
    return await place.clone()


async def test_differences_right_after_the_clone_are_no_change(place: Place) -> None:
    base = await windows(place)
    change = await place.collect(base)
    assert (place.changed(change), change.is_empty) == ({}, True)


async def test_edits_of_the_agent_are_a_change_even_if_the_file_differed_before(
    place: Place,
) -> None:
    base = await windows(place)
    write(place.workspace, {"notes.txt": "one\r\ntwo\r\nthree\r\n"})
    (place.workspace / "run.bat").chmod(0o755)
    assert place.changed(await place.collect(base)) == {"notes.txt": "M", "run.bat": "M"}


async def test_a_large_file_that_differs_right_after_the_clone_is_no_change(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_LARGE", 4)
    base = await windows(place)
    assert place.changed(await place.collect(base)) == {}
    write(place.workspace, {"run.bat": "@echo on\r\n"})
    assert place.changed(await place.collect(base)) == {"run.bat": "M"}


async def test_a_repository_that_the_agent_initializes_belongs_to_the_change(
    place: Place, base: Base
) -> None:
    write(place.workspace, {".gitignore": "node_modules/\n"})
    write(place.workspace, {"api/server.py": "serve()\n", "api/node_modules/x.js": "1\n"})
    git(place.workspace / "api", "init", "-q")
    write(place.workspace, {"src/b.py": "y\n", "src/a.py": "z\n"})
    git(place.workspace / "src", "init", "-q")
    change = await place.collect(base)
    assert place.changed(change) == {
        ".gitignore": "A", "api/server.py": "A", "src/a.py": "M", "src/b.py": "A",
    }  # fmt: skip
    assert change.left_out == ()


async def test_a_repository_that_the_agent_clones_is_named(place: Place, base: Base) -> None:
    place.agent("clone", "-q", str(place.origin), "reference/other")
    write(place.workspace, {".gitignore": "build/\n"})
    place.agent("clone", "-q", str(place.origin), "build/dependency")
    change = await place.collect(base)
    assert place.changed(change) == {".gitignore": "A"}
    (named,) = change.left_out
    assert named.startswith("reference/other: a repository of its own")


async def test_a_submodule_is_collected_as_its_commit(place: Place, base: Base) -> None:
    args = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
    place.agent(*args, f"file://{place.origin}", "lib")
    change = await place.collect(base)
    assert place.changed(change) == {".gitmodules": "A", "lib": "A"}
    (named,) = change.left_out
    assert named.startswith("lib: a submodule")


async def test_a_submodule_becomes_ordinary_files(place: Place) -> None:
    place.commit({"README.md": "# demo\n"})
    head = git(place.origin, "rev-parse", "HEAD")
    git(place.origin, "update-index", "--add", "--cacheinfo", f"160000,{head},lib")
    git(place.origin, "commit", "-qm", "Add a submodule")
    base = await place.clone()
    assert place.changed(await place.collect(base)) == {}
    place.agent("rm", "-q", "--cached", "lib")
    write(place.workspace, {"lib/code.py": "x\n"})
    assert place.changed(await place.collect(base)) == {"lib": "D", "lib/code.py": "A"}


async def test_commits_on_another_branch_are_named_and_kept(place: Place, base: Base) -> None:
    place.agent("switch", "-qc", "fix/thing")
    write(place.workspace, {"README.md": "the work\n"})
    place.agent("commit", "-qam", "Fix the thing")
    commit = place.agent("rev-parse", "HEAD")
    place.agent("switch", "-q", "-")
    place.agent("branch", "merged")
    change = await place.collect(base)
    assert change.is_empty
    assert change.left_out == (f"fix/thing: 1 commit ({commit[:12]})",)
    await hand_over(place.git, base, place.home / "later", base.commit)
    assert git(place.home / "later", "rev-parse", "fix/thing") == commit


async def test_commits_fetched_from_the_server_are_not_the_agents_work(
    place: Place, base: Base
) -> None:
    git(place.origin, "switch", "-qc", "feature")
    place.commit({"feature": "1\n"})
    place.agent("fetch", "-q", "origin", "feature:refs/remotes/origin/feature")
    place.agent("branch", "local", "origin/feature")
    assert (await place.collect(base)).left_out == ()


async def test_stashes_and_detached_worktrees_are_named(place: Place, base: Base) -> None:
    write(place.workspace, {"README.md": "stashed\n"})
    place.agent("stash", "-q")
    place.agent("worktree", "add", "-q", "--detach", "../linked")
    linked = place.workspace.parent / "linked"
    write(linked, {"README.md": "in a worktree\n"})
    git(linked, "commit", "-qam", "Work in a worktree")
    commit = git(linked, "rev-parse", "HEAD")
    change = await place.collect(base)
    assert [one.partition(" (")[0] for one in change.left_out] == [
        "stash: stashed changes", "worktrees/linked: 1 commit",
    ]  # fmt: skip
    assert commit[:12] in change.left_out[1]


@pytest.mark.parametrize("is_dirty", [True, False], ids=["uncommitted", "clean"])
async def test_uncommitted_files_of_a_linked_worktree_are_named(
    place: Place, base: Base, is_dirty: bool
) -> None:
    place.agent("worktree", "add", "-q", "-b", "side", ".claude/worktrees/x")
    if is_dirty:
        write(place.workspace / ".claude/worktrees/x", {"README.md": "not committed\n"})
    change = await place.collect(base)
    assert change.is_empty
    expected = [".claude/worktrees/x: a linked worktree"] if is_dirty else []
    assert [one.rpartition(": its")[0] for one in change.left_out] == expected


async def test_an_unusable_branch_does_not_affect_others(place: Place, base: Base) -> None:
    place.agent("switch", "-qc", "good")
    write(place.workspace, {"README.md": "the work\n"})
    place.agent("commit", "-qam", "Fix the thing")
    place.agent("switch", "-q", "-")
    (place.workspace / ".git/refs/heads/bad").write_text("1" * 40 + "\n")
    change = await place.collect(base)
    assert any(one.startswith("good: 1 commit") for one in change.left_out)


async def test_the_change_of_an_empty_repository_is_its_first_commit(place: Place) -> None:
    base = await place.clone(is_pushed=True)
    assert place.agent("branch", "--show-current") == "agentrun/run-1"
    assert (await place.collect(base)).is_empty
    write(place.workspace, {"README.md": "# new\n"})
    change = await place.collect(base)
    assert place.changed(change) == {"README.md": "A"}
    assert git(place.private, "rev-list", "--count", change.head) == "1"
    await Collector(place.git, base, place.workspace).push(change)
    assert git(place.origin, "rev-parse", "agentrun/run-1") == change.head


async def test_an_agents_own_commits_in_an_empty_repository_are_the_change(place: Place) -> None:
    base = await place.clone(ref="main")
    write(place.workspace, {"README.md": "# new\n"})
    place.agent("add", "-A")
    place.agent("commit", "-qm", "First")
    write(place.workspace, {"more": "1\n"})
    change = await place.collect(base)
    assert place.changed(change) == {"README.md": "A", "more": "A"}
    assert git(place.private, "rev-list", "--count", change.head) == "2"


async def failure_of(place: Place, key: str, **source: object) -> str:
    """Clone, compare the failure with its row in the catalogue, and return the message."""
    with pytest.raises(AttemptError) as caught:
        await place.clone(is_pushed=True, **source)
    check_end(find(key), Phase.FAILED, caught.value.reason, caught.value.message)
    return caught.value.message


@pytest.mark.failure("clone-branch-taken")
@pytest.mark.parametrize(("branch", "taken"), [("main/fix", "main"), ("x", "x/y")])
async def test_clone_fails_if_the_branch_of_the_change_cannot_exist(
    place: Place, branch: str, taken: str
) -> None:
    place.commit({"README.md": "# demo\n"})
    git(place.origin, "branch", "x/y")
    message = await failure_of(place, "clone-branch-taken", branch=branch)
    assert f"there is a branch '{taken}'" in message


async def test_continued_work_fails_if_the_branch_of_its_change_cannot_exist(place: Place) -> None:
    place.commit({"README.md": "# demo\n"})
    base = await place.clone(ref="main")
    fits = GitSource(url=base.url, branch="fix")
    await check_branch(place.git, fits, "run-2", base.private)
    source = GitSource(url=base.url, branch="main/fix")
    with pytest.raises(AttemptError) as caught:
        await check_branch(place.git, source, "run-2", base.private)
    failure = find("clone-branch-taken")
    check_end(failure, Phase.FAILED, caught.value.reason, caught.value.message)
    assert "there is a branch 'main'" in caught.value.message


async def test_continued_work_begins_although_the_server_does_not_answer(place: Place) -> None:
    place.commit({"README.md": "# demo\n"})
    base = await place.clone(ref="main")
    await check_branch(place.git, GitSource(url="file:///no/such"), "run-2", base.private)


@pytest.mark.failure("clone-ref")
async def test_clone_lists_the_branches_if_there_is_no_such_ref(place: Place) -> None:
    place.commit({"README.md": "# demo\n"})
    git(place.origin, "branch", "x")
    message = await failure_of(place, "clone-ref", ref="nope")
    assert message.endswith("The branches are: main, x")


@pytest.mark.failure("clone-head")
async def test_clone_asks_for_a_ref_if_the_head_names_no_branch(place: Place) -> None:
    place.commit({"README.md": "# demo\n"})
    git(place.origin, "symbolic-ref", "HEAD", "refs/heads/gone")
    assert (await failure_of(place, "clone-head")).endswith("The branches are: main")


@pytest.mark.failure("clone-sha256")
async def test_clone_reports_that_sha256_is_not_supported(place: Place) -> None:
    git(place.origin, "init", "-q", "--object-format=sha256", "-b", "main", "other")
    write(place.origin / "other", {"README.md": "x\n"})
    git(place.origin / "other", "add", "-A")
    git(place.origin / "other", "commit", "-qm", "Begin")
    place.origin = place.origin / "other"
    await failure_of(place, "clone-sha256")


def test_a_long_list_ends_with_the_number_of_the_rest() -> None:
    listed = bounded([f"file{number}: \udcff{'x' * 400}" for number in range(30)])
    assert (len(listed), listed[-1]) == (21, "and 10 more")
    assert all(len(one.encode()) <= 400 for one in listed)
