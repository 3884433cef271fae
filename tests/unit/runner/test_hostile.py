"""
What a live, hostile agent gets while the runner packs, unpacks, collects and writes: nothing.

Each of these attacks succeeds at the first try where files are opened by path.
"""

import asyncio
import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from agentrun.api import pod_layout
from agentrun.api.gateway import Head, Task
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRunSpec, GitSource
from agentrun.runner.gateway import Gateway
from agentrun.runner.git.change import Author, Change, Collector
from agentrun.runner.git.git import UPLOAD_PACK, Git
from agentrun.runner.git.workspace import Base, clone, working_folder
from agentrun.runner.home import write_home, write_identity
from agentrun.runner.instructions import write_instructions
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError
from agentrun.runner.snapshot.manifest import DriverState, Manifest, Part, ResumePoint
from agentrun.runner.snapshot.restore import Restorer
from agentrun.runner.snapshot.take import SnapshotWriter
from tests.unit.runner.hostile import CANARY, CREATED, OPENED, a_pod, hole, once, swap, swapping

pytestmark = pytest.mark.slow

AUTHOR = Author("Runner", "runner@example.com")
KEY = Path(pod_layout.PROVIDER_KEY_FILE).name


@pytest.fixture(params=["confined", "no-landlock"])
def layout(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Layout:
    """A pod with canaries, on a node whose kernel has Landlock, and on one whose has not."""
    if request.param == "no-landlock":
        monkeypatch.setattr("agentrun.runner.kernel.landlock_version", lambda: 0)
    return a_pod(tmp_path / "pod")


def secrets_of(layout: Layout) -> Path:
    return layout.provider_key.parent


def a_task(workspace: dict[str, object] | None = None) -> Task:
    spec = {"backend": "acp", "prompt": "x", "workspace": workspace}
    return Task(
        run_id="run-1", namespace="agents", uid="uid-1", attempt=1, session_id="s",
        agent_name="a", spec=AgentRunSpec.model_validate(spec),
        profile=AgentProfileSpec.model_validate({"backend": "acp", "image": "i"}),
        head=Head(last_seq=0, sealed=False),
    )  # fmt: skip


class Store:
    """Keeps blobs, where a gateway would."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def put_blob(self, name: str, file: Path, _size: int, _kind: str) -> None:
        self.blobs[name] = await asyncio.to_thread(file.read_bytes)

    async def get_snapshot(self, name: str, file: Path) -> None:
        await asyncio.to_thread(file.write_bytes, self.blobs[name])

    def unpacked(self) -> tarfile.TarFile:
        parts = b"".join(data for name, data in sorted(self.blobs.items()) if "part-" in name)
        return tarfile.open(fileobj=io.BytesIO(parts), mode="r:gz")


def a_git(layout: Layout) -> Git:
    return Git(layout.spool / "git", layout.git_credentials, Redactor())


async def take(layout: Layout, store: Store, base: Base | None = None) -> None:
    gateway = cast(Gateway, store)
    state = DriverState("s")
    await SnapshotWriter(layout, gateway, a_git(layout), 5).take(a_task(), state, base)


@pytest.mark.parametrize("place", ["home", "workspace"])
async def test_a_folder_replaced_during_packing_leaks_no_secret_into_the_snapshot(
    layout: Layout, place: str
) -> None:
    folder = getattr(layout, place) / "d"
    folder.mkdir()
    hole(folder / "a-big", 200)
    (folder / KEY).write_text("harmless")
    store = Store()
    with once(folder, OPENED, "a-big", swap(folder, secrets_of(layout))):
        await take(layout, store)
    with store.unpacked() as archive:
        found = {one.name for one in archive.getmembers()}
        assert f"{place}/d/a-big" in found
        for one in archive:
            if one.isreg() and one.size < 1000:
                content = archive.extractfile(one)
                assert content is not None
                assert CANARY.encode() not in content.read(), one.name


def a_snapshot(store: Store, *members: tuple[tarfile.TarInfo, bytes]) -> ResumePoint:
    made = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=made, mode="wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    data = made.getvalue()
    store.blobs["part-0001"] = data
    part = Part(name="part-0001", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    found = Manifest(
        run="uid-0", run_id="run-0", attempt=1, backend="acp", session_id="s",
        taken_at=datetime.now(UTC), workspace="files", parts=[part],
    )  # fmt: skip
    return ResumePoint(found, is_own=False)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 0
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size = kind, 0o777, size
    info.linkname = "x" if kind == tarfile.SYMTYPE else ""
    return info, bytes(size)


async def test_a_folder_replaced_during_unpacking_changes_nothing_outside(
    layout: Layout,
) -> None:
    elsewhere = secrets_of(layout)
    elsewhere.chmod(0o700)
    store = Store()
    origin = a_snapshot(
        store,
        member("home/d", tarfile.DIRTYPE),
        member(f"home/d/{KEY}", tarfile.SYMTYPE),
        member("home/a-big", size=64 * 1024 * 1024),
    )
    restorer = Restorer(layout, cast(Gateway, store), a_git(layout), 5)
    with (
        once(layout.home, CREATED, "a-big", swap(layout.home / "d", elsewhere)),
        pytest.raises(AttemptError, match="below a link"),
    ):
        await restorer.restore(origin, a_task())
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert not (elsewhere / KEY).is_symlink()
    assert CANARY in (elsewhere / KEY).read_text()


async def test_unpacking_stays_inside_while_a_folder_is_replaced_continuously(
    layout: Layout,
) -> None:
    elsewhere = secrets_of(layout)
    before = {one.name: one.read_bytes() for one in elsewhere.iterdir()}
    (layout.home / "d").mkdir()
    store = Store()
    origin = a_snapshot(store, *(member(f"home/d/{one}") for one in range(500)))
    with swapping(layout.home / "d", elsewhere), suppress(AttemptError):
        await Restorer(layout, cast(Gateway, store), a_git(layout), 5).restore(origin, a_task())
    assert {one.name: one.read_bytes() for one in elsewhere.iterdir()} == before


def test_the_home_is_not_written_through_a_link_in_place_of_a_folder(layout: Layout) -> None:
    (layout.home / ".codex").symlink_to(secrets_of(layout))
    with pytest.raises(OSError, match="\\.codex"):
        write_home(layout, "codex", None)
    assert {one.name for one in secrets_of(layout).iterdir()} == {KEY}


def test_instructions_are_not_written_to_the_target_of_a_replaced_folder(layout: Layout) -> None:
    source = layout.instructions / "rules"
    source.mkdir(parents=True)
    (source / "all.md").write_text("x" * 64 * 1024 * 1024)
    notes = layout.home / "notes"
    notes.mkdir()
    profile = AgentProfileSpec.model_validate({
        "backend": "acp", "image": "i",
        "instructionFiles": [
            {"path": f"notes/{KEY}", "configMap": {"name": "rules", "key": "all.md"}}
        ],
    })  # fmt: skip
    with (
        once(source, OPENED, "all.md", swap(notes, secrets_of(layout))),
        pytest.raises(AttemptError, match=f"Instruction file notes/{KEY}"),
    ):
        write_instructions(layout, "acp", profile.instruction_files)
    assert (secrets_of(layout) / KEY).read_text().startswith(CANARY)


def test_writes_to_the_home_stay_inside_while_a_folder_is_replaced_continuously(
    layout: Layout,
) -> None:
    (layout.home / ".codex").mkdir()
    with swapping(layout.home / ".codex", secrets_of(layout)):
        for _ in range(200):
            write_identity(layout, "A", "a@b")
            with suppress(OSError):
                write_home(layout, "codex", None)
    assert {one.name for one in secrets_of(layout).iterdir()} == {KEY}


def test_the_working_folder_is_not_created_behind_a_link(layout: Layout) -> None:
    (layout.workspace / "d").symlink_to(secrets_of(layout))
    with pytest.raises(AttemptError, match="outside the workspace"):
        working_folder(layout.workspace, "d/new")
    (layout.workspace / "real").mkdir()
    (layout.workspace / "link").symlink_to("real/../real")
    assert working_folder(layout.workspace, "link/new") == layout.workspace / "real/new"
    assert [one.name for one in secrets_of(layout).iterdir()] == [KEY]


def run_git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]
    command = ["git", *identity, *args]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    (folder / "d").mkdir(parents=True)
    run_git(folder, "init", "-q", "-b", "main")
    for name in ("a.txt", f"d/{KEY}"):
        (folder / name).write_text("one\n")
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-qm", "first")
    return folder


async def cloned(layout: Layout, origin: Path) -> tuple[Git, Base]:
    git = a_git(layout)
    source = GitSource.model_validate({"url": f"file://{origin}"})
    return git, await clone(git, source, "run-1", layout.workspace, layout.repository)


async def collected(layout: Layout, git: Git, base: Base) -> tuple[Change, str]:
    collector = Collector(git, base, layout.workspace)
    change = await collector.collect("run-1", AUTHOR)
    await collector.write_patch(change, layout.spool / "patch")
    return change, (layout.spool / "patch").read_text(errors="replace")


def objects_of(repository: Path) -> str:
    form = ["cat-file", "--batch-all-objects", "--batch"]
    shown = subprocess.run(
        ["git", "-c", "safe.directory=*", *form], cwd=repository, check=True, capture_output=True
    )
    return shown.stdout.decode(errors="replace")


async def no_canary(layout: Layout, base: Base, patch: str) -> None:
    assert CANARY not in patch
    assert CANARY not in objects_of(layout.repository)
    store = Store()
    await take(layout, store, base)
    with store.unpacked() as archive:
        archive.extractall(layout.root / "next", filter="data")
    for file in (layout.root / "next").rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("name", [KEY, "new"])
async def test_a_folder_replaced_during_collecting_leaks_no_secret_into_the_change(
    layout: Layout, origin: Path, name: str
) -> None:
    git, base = await cloned(layout, origin)
    folder = layout.workspace / "d"
    hole(folder / "a-big", 64)
    (folder / name).write_text("harmless")
    (secrets_of(layout) / name).write_text(f"{CANARY}\n")
    with once(folder, OPENED, "a-big", swap(folder, secrets_of(layout))):
        change, patch = await collected(layout, git, base)
    assert not change.is_empty
    await no_canary(layout, base, patch)


async def test_continuously_replaced_folders_leak_no_secret_into_the_change(
    layout: Layout, origin: Path
) -> None:
    git, base = await cloned(layout, origin)
    for number in range(200):
        (layout.workspace / "d" / f"{number}").write_text("harmless")
        (secrets_of(layout) / f"{number}").write_text(f"{CANARY} {number}\n")
    with swapping(layout.workspace / "d", secrets_of(layout)):
        _, patch = await collected(layout, git, base)
    await no_canary(layout, base, patch)


async def test_links_pipes_and_devices_do_not_lead_out_of_the_workspace(
    layout: Layout, origin: Path
) -> None:
    git, base = await cloned(layout, origin)
    key = secrets_of(layout) / KEY
    (layout.workspace / "link").symlink_to(key)
    (layout.workspace / "a.txt").unlink()
    (layout.workspace / "a.txt").symlink_to(key)
    shutil.rmtree(layout.workspace / "d")
    (layout.workspace / "d").symlink_to(key.parent)
    os.mkfifo(layout.workspace / "pipe")
    change, patch = await collected(layout, git, base)
    kinds = {row.split("\t")[1]: row.split()[0] for row in
             run_git(layout.repository, "ls-tree", "-r", change.head).splitlines()}  # fmt: skip
    assert kinds == {"a.txt": "120000", "link": "120000", "d": "120000"}
    await no_canary(layout, base, patch)


def _config(key: str) -> Callable[[Path, Layout, str], None]:
    def spoil(repository: Path, _layout: Layout, command: str) -> None:
        run_git(repository, "config", key, command)

    return spoil


def _hooks(repository: Path, _layout: Layout, command: str) -> None:
    hooks = repository / "own-hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction",
                 "pre-push", "pre-auto-gc", "fsmonitor-watchman"):  # fmt: skip
        for folder in (hooks, repository / ".git/hooks"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(f"#!/bin/sh\n{command}\n")
            (folder / name).chmod(0o755)
    run_git(repository, "config", "core.hooksPath", str(hooks))


def _filters(repository: Path, _layout: Layout, command: str) -> None:
    for key in ("filter.t.clean", "filter.t.smudge", "filter.t.process", "diff.t.command",
                "diff.t.textconv", "merge.t.driver"):  # fmt: skip
        run_git(repository, "config", key, command)
    run_git(repository, "config", "filter.t.required", "true")
    for file in (".gitattributes", ".git/info/attributes"):
        (repository / file).write_text("* filter=t diff=t merge=t\n")


def _include(repository: Path, layout: Layout, command: str) -> None:
    (repository / "included").write_text(f"[core]\n\tfsmonitor = {command}\n")
    with (repository / ".git/config").open("a") as config:
        for file in (repository / "included", layout.provider_key, layout.token):
            config.write(f"[include]\n\tpath = {file}\n")


def _work_tree(repository: Path, layout: Layout, _command: str) -> None:
    run_git(repository, "config", "core.worktree", str(layout.provider_key.parent))


def _alternates(repository: Path, layout: Layout, _command: str) -> None:
    secrets = layout.provider_key.parent
    (repository / ".git/objects/info").mkdir(exist_ok=True)
    (repository / ".git/objects/info/alternates").write_text(f"{secrets}\n/proc/self/root\n")


def _ext_urls(repository: Path, _layout: Layout, command: str) -> None:
    for key, value in {
        "remote.origin.url": f"ext::sh -c '{command}'", "remote.origin.promisor": "true",
        "extensions.partialClone": "origin", "core.repositoryFormatVersion": "1",
        "protocol.ext.allow": "always", "url.ext::sh.insteadOf": "file://",
        "remote.origin.uploadpack": command, "remote.origin.vcs": "ext",
    }.items():  # fmt: skip
        run_git(repository, "config", key, value)


def _home(_repository: Path, layout: Layout, command: str) -> None:
    text = f"[core]\n\tfsmonitor = {command}\n\thooksPath = /\n[uploadpack]\n\tpackObjectsHook = "
    (layout.home / ".gitconfig").write_text(f"{text}{command}\n")
    (layout.home / ".config/git").mkdir(parents=True)
    (layout.home / ".config/git/config").write_text(f"{text}{command}\n")


def _elsewhere(repository: Path, layout: Layout, _command: str) -> None:
    shutil.rmtree(repository / ".git")
    (repository / ".git").write_text(f"gitdir: {layout.provider_key.parent}\n")


def _link(repository: Path, layout: Layout, _command: str) -> None:
    shutil.rmtree(repository / ".git")
    (repository / ".git").symlink_to(layout.provider_key.parent)


def _head(repository: Path, layout: Layout, _command: str) -> None:
    (repository / ".git/HEAD").unlink()
    (repository / ".git/HEAD").symlink_to(layout.provider_key)
    (repository / ".git/packed-refs").unlink(missing_ok=True)
    (repository / ".git/packed-refs").symlink_to(layout.provider_key)


SPOILT = {
    "fsmonitor": _config("core.fsmonitor"), "git-proxy": _config("core.gitProxy"),
    "ssh": _config("core.sshCommand"), "pack-objects": _config("uploadpack.packObjectsHook"),
    "alternate-refs": _config("core.alternateRefsCommand"), "pager": _config("core.pager"),
    "editor": _config("core.editor"), "credentials": _config("credential.helper"),
    "hooks": _hooks, "filters": _filters, "include": _include, "work-tree": _work_tree,
    "alternates": _alternates, "urls": _ext_urls, "home": _home, "elsewhere": _elsewhere,
    "link": _link, "head": _head,
}  # fmt: skip


@pytest.mark.parametrize("spoil", [pytest.param(one, id=name) for name, one in SPOILT.items()])
async def test_a_malicious_repository_runs_nothing_and_leads_nowhere(
    layout: Layout, origin: Path, spoil: Callable[[Path, Layout, str], None], tmp_path: Path
) -> None:
    git, base = await cloned(layout, origin)
    trap = tmp_path / "sprung"
    (layout.workspace / "a.txt").write_text("changed\n")
    spoil(layout.workspace, layout, f"touch {trap}; cat")
    trap.unlink(missing_ok=True)  # the agent's own git may have sprung it
    change, patch = await collected(layout, git, base)
    assert "+changed" in patch
    assert not trap.exists()
    assert not change.is_empty
    await no_canary(layout, base, patch)


async def test_config_of_a_repository_that_is_manipulated_during_its_creation_is_ignored(
    layout: Layout, origin: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "sprung"
    hook = tmp_path / "hooks/post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)
    config = layout.workspace / ".git/config"

    def spoil() -> None:
        text = f"[core]\n\thooksPath = {hook.parent}\n\tfsmonitor = {hook}\n"
        while not config.exists():
            continue
        with config.open("a") as file:
            file.write(text)

    with once(layout.workspace, CREATED, ".git", spoil):
        await cloned(layout, origin)
    assert not trap.exists()


def test_settings_on_the_command_line_take_precedence_over_every_file() -> None:
    for said in ("core.hooksPath=/dev/null", "core.fsmonitor=false", "protocol.allow=never",
                 "transfer.fsckObjects=true", "submodule.recurse=false"):  # fmt: skip
        assert f"-c {said}" in UPLOAD_PACK


async def test_invalid_objects_are_not_adopted(layout: Layout, origin: Path) -> None:
    git, base = await cloned(layout, origin)
    blob = run_git(layout.workspace, "hash-object", "-w", "a.txt").strip()
    inner = a_tree(layout.workspace, f"100644 blob {blob}\tconfig\n")
    tree = a_tree(layout.workspace, f"040000 tree {inner}\t.git\n")
    commit = run_git(layout.workspace, "commit-tree", tree, "-p", "HEAD", "-m", "bad").strip()
    run_git(layout.workspace, "update-ref", "HEAD", commit)
    change, _ = await collected(layout, git, base)
    assert change.is_empty, "the agent's commit has a folder .git"


def a_tree(repository: Path, entries: str) -> str:
    command = ["git", "-c", "safe.directory=*", "mktree"]
    made = subprocess.run(
        command, cwd=repository, check=True, text=True, input=entries, capture_output=True
    )
    return made.stdout.strip()
