"""Folders that an agent can write are reached from open descriptors, and left by no way."""

import os
import socket
from pathlib import Path

import pytest

from agentrun.runner import kernel
from agentrun.runner.folders import Folder, OutsideFolderError


@pytest.fixture(params=["openat2", "by-component"])
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a way out beside it, on new kernels and on those without openat2."""
    if request.param == "by-component":
        monkeypatch.setattr(kernel, "open_beneath", lambda *_: None)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("canary")
    made = tmp_path / "folder"
    (made / "a/b").mkdir(parents=True)
    (made / "a/b/file").write_text("x")
    (made / "out").symlink_to("../secret")
    (made / "a/key").symlink_to("../../secret/key")
    (made / "a/around").symlink_to("b")
    return made


def test_files_inside_the_folder_are_opened(folder: Path) -> None:
    with Folder.at(folder) as opened:
        assert opened.names() == ["a", "out"]
        with opened.read("a/b/file") as file:
            assert file.read() == b"x"
        assert opened.link("a/key") == "../../secret/key"
        assert opened.status("a/b/file").st_size == 1
        with opened.folder("a/b") as below:
            assert below.names() == ["file"]


@pytest.mark.parametrize(
    "path",
    ["out/key", "a/key", "a/around/file", "../secret/key", "a/../../secret/key", "/etc/passwd",
     "a//b/file", "", "."],
)  # fmt: skip
def test_no_path_follows_a_link_or_leaves_the_folder(folder: Path, path: str) -> None:
    with Folder.at(folder) as opened:
        with pytest.raises(OSError, match=r"Errno"):
            opened.read(path)
        for write in (opened.make_folder, lambda at: opened.make_link(at, "x"), opened.create):
            with pytest.raises(OSError, match=r"Errno"):
                write(path)
        with pytest.raises(OSError, match=r"Errno"):
            opened.folder(path or "..", make=True)
    assert [one.name for one in (folder.parent / "secret").iterdir()] == ["key"]
    assert (folder.parent / "secret/key").read_text() == "canary"


@pytest.mark.timeout(20)
def test_special_files_are_neither_read_nor_awaited(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening, Folder.at(folder) as opened:
        listening.bind(str(folder / "socket"))
        for name in ("pipe", "socket", "a"):
            with pytest.raises(OSError, match=r"Errno"):
                opened.read(name)


def test_a_replaced_entry_may_be_of_any_type_and_is_not_followed(folder: Path) -> None:
    with Folder.at(folder) as opened:
        opened.replace("a/key", b"new")
        opened.replace("new/b/c", b"new")
        with pytest.raises(OSError, match=r"Errno"):
            opened.replace("out/key", b"new")
    assert (folder / "a/key").read_text() == "new"
    assert (folder / "new/b/c").read_text() == "new"
    assert (folder.parent / "secret/key").read_text() == "canary"


def test_a_walk_shows_links_and_does_not_follow_them(folder: Path) -> None:
    failed: list[str] = []
    with Folder.at(folder) as opened:
        found = {one.path for name in opened.names()
                 for one in opened.walk(name, lambda path, _: failed.append(path))}  # fmt: skip
    assert found == {"a", "a/around", "a/b", "a/b/file", "a/key", "out"}
    assert failed == []


def test_a_walk_handles_paths_longer_than_the_kernel_accepts(tmp_path: Path) -> None:
    at, name = os.open(tmp_path, os.O_RDONLY), "folder" * 10
    for _ in range(150):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    failed: list[str] = []
    with Folder.at(tmp_path) as opened:
        walked = opened.walk(name, lambda path, _: failed.append(path))
        found = sum(1 for _ in walked)
    assert (found >= 60, len(failed)) == (True, 1)


def test_links_are_resolved_only_within_the_folder(folder: Path) -> None:
    with Folder.at(folder) as opened:
        assert opened.resolve("a/around/new") == ["a", "b", "new"]
        (folder / "loop").symlink_to("loop")
        for path in ("out", "..", "a/key", "loop", "a/../../x"):
            with pytest.raises(OutsideFolderError):
                opened.resolve(path)


def test_no_file_descriptor_is_left_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with Folder.at(folder) as opened:
        for path in ("out/key", "a/b/file", "a/b", "nothing/there"):
            for use in (opened.status, opened.link, opened.remove):
                try:
                    use(path)
                except OSError:
                    continue
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
