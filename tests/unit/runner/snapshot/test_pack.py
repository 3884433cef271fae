"""What is packed, what is not, and that nothing is unpacked where it should not be."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from agentrun.backends import backend_of
from agentrun.runner.folders import Folder
from agentrun.runner.snapshot.pack import Packer, SnapshotTooLargeError, Source, UnpackableFileError
from agentrun.runner.snapshot.unpack import Target, UnsafeArchiveError, unpack
from agentrun.runner.snapshot.worker import conversation_files


def pack(tmp_path: Path, root: Path, limit: int = 10_000_000) -> tuple[Packer, list[Path]]:
    folder = tmp_path / "parts"
    folder.mkdir()
    packer = Packer(folder, limit, part_bytes=10_000)
    with Folder.at(root) as opened:
        parts = packer.pack([Source("home", opened, opened.names())])
    assert [part.size for part in parts[:-1]] == [10_000] * (len(parts) - 1)
    return packer, [folder / part.name for part in parts]


def an_archive(tmp_path: Path, *members: tarfile.TarInfo) -> list[Path]:
    file = tmp_path / "part"
    with gzip.open(file, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return [file]


def a_target(path: Path, outer_links: bool = False) -> Target:
    return Target(Folder.at(path, make=True), outer_links)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


def test_files_are_restored_unchanged(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/random").write_bytes(os.urandom(45_000))
    (root / "a/run").write_text("x")
    (root / "a/run").chmod(0o4755)
    (root / "inside").symlink_to("a/run")
    (root / "outside").symlink_to("/etc/passwd")
    (root / "up").symlink_to("../parts")
    os.mkfifo(root / "pipe")
    packer, parts = pack(tmp_path, root)
    assert packer.left_out == ["pipe: no file, folder or link"]
    out = tmp_path / "out"
    unpack(parts, {"home": a_target(out)})
    assert (out / "a/b/random").read_bytes() == (root / "a/b/random").read_bytes()
    assert (out / "a/run").stat().st_mode & 0o7777 == 0o755
    assert {one.name for one in out.iterdir()} == {"a", "inside"}
    assert not list((tmp_path / "parts").iterdir()), "each goes when it was read"


def test_links_are_not_followed_when_packing(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/token").write_text("t" * 50_000)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("../secret")
    _, parts = pack(tmp_path, root)
    assert sum(part.stat().st_size for part in parts) < 500


def test_excessive_content_is_refused_before_it_is_written(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "large").write_bytes(os.urandom(100_000))
    with pytest.raises(SnapshotTooLargeError):
        pack(tmp_path, root, limit=50_000)
    assert sum(one.stat().st_size for one in (tmp_path / "parts").iterdir()) <= 50_000


def test_a_sparse_file_of_a_terabyte_is_too_large_although_it_compresses_well(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with (root / "hole").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SnapshotTooLargeError):
        pack(tmp_path, root)


def test_an_archive_that_cannot_be_written_is_an_error_and_skips_no_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("x")
    with Folder.at(root) as opened, pytest.raises(UnpackableFileError):
        Packer(tmp_path / "no-such-folder", 10_000, 100).pack([Source("home", opened, ["file"])])


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([member("home/../x")], id="above"),
        pytest.param([member("home//x")], id="absolute"),
        pytest.param([member("home/pipe", tarfile.FIFOTYPE)], id="fifo"),
        pytest.param([member("home/disk", tarfile.BLKTYPE)], id="device"),
        pytest.param([member("home/hard", tarfile.LNKTYPE, "/etc/passwd")], id="hard-link"),
    ],
)
def test_unexpected_archive_members_are_not_unpacked(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    with pytest.raises(UnsafeArchiveError):
        unpack(an_archive(tmp_path, *members), {"home": a_target(tmp_path / "out")})
    assert not (tmp_path / "x").exists()


def test_nothing_is_written_through_an_existing_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to("../elsewhere")
    with pytest.raises(UnsafeArchiveError, match="below a link"):
        unpack(an_archive(tmp_path, member("home/a/f")), {"home": a_target(tmp_path / "out")})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_links_of_the_archive_are_created_last(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    members = [member("home/a", tarfile.SYMTYPE, str(tmp_path / "elsewhere")), member("home/a/f")]
    target = a_target(tmp_path / "out", outer_links=True)
    with pytest.raises(IsADirectoryError):
        unpack(an_archive(tmp_path, *members), {"home": target})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_conversations_are_found_by_backend(tmp_path: Path) -> None:
    for name in (".codex/sessions/2026", ".codex/log", ".claude/projects/p", ".cache/x", ".mine"):
        (tmp_path / name).mkdir(parents=True)
    for name in (".codex/state_5.sqlite", ".codex/state_5.sqlite-wal", ".codex/config.toml",
                 ".claude.json", ".gitconfig"):  # fmt: skip
        (tmp_path / name).touch()

    def found(backend: str) -> list[str]:
        with Folder.at(tmp_path) as home:
            return list(conversation_files(backend_of(backend).conversation_files, home))

    assert found("codex") == [
        ".codex/sessions", ".codex/state_5.sqlite", ".codex/state_5.sqlite-wal",
    ]  # fmt: skip
    assert found("claude_code") == [".claude/projects", ".claude.json"]
    assert found("acp") == [".claude", ".claude.json", ".codex", ".mine"]


def test_a_link_in_place_of_the_agents_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/projects").mkdir(parents=True)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".claude").symlink_to("../elsewhere")
    with Folder.at(home) as opened:
        assert list(conversation_files(backend_of("claude_code").conversation_files, opened)) == []
