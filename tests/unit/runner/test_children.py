"""Programs that work on an agent's files reach those, and nothing that the runner can see."""

import asyncio
import errno
import logging
import os
import sys
from pathlib import Path

import pytest

from agentrun.runner import kernel
from agentrun.runner.children import AllBut, Child, ChildError, Reach, ask_module

pytestmark = pytest.mark.slow
_ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def has_landlock() -> None:
    if not kernel.landlock_version():
        pytest.skip("this kernel has no Landlock")


async def shell(script: str, reach: Reach | AllBut, cwd: Path) -> tuple[int, str]:
    done = await Child(["sh", "-c", script], reach, _ENV, cwd).run(60)
    return done.code, (done.printed + done.complaint).decode()


@pytest.mark.usefixtures("has_landlock")
async def test_a_child_reads_and_writes_only_what_it_may(tmp_path: Path) -> None:
    for name in ("mine", "theirs", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "theirs/program").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "theirs/program").chmod(0o755)
    reach = Reach(reads=(tmp_path / "theirs",), writes=(tmp_path / "mine",))
    assert await shell("cat theirs/file; echo x >mine/new", reach, tmp_path) == (0, "theirs")
    for refused in ("cat secret/file", "ls secret", "echo x >theirs/new", "rm theirs/file",
                    "theirs/program", "cat /etc/hostname", "cat /proc/$PPID/environ",
                    f"ln -s {tmp_path}/secret mine/link; cat mine/link/file",
                    "mv mine/new secret/new", f"kill -0 {os.getpid()}"):  # fmt: skip
        code, said = await shell(refused, reach, tmp_path)
        assert code, refused
        assert "secret\n" not in said
    assert not (tmp_path / "secret/new").exists()
    # The runner itself is as free as before.
    assert (tmp_path / "secret/file").read_text() == "secret"


@pytest.mark.usefixtures("has_landlock")
async def test_processes_with_credentials_cannot_reach_the_agents_folders(tmp_path: Path) -> None:
    for name in ("pod/workspace", "pod/var/secret", "home/agent"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("content")
    reach = AllBut((tmp_path / "pod/workspace", tmp_path / "home/agent"))
    assert (await shell("cat pod/var/secret/file /etc/passwd", reach, tmp_path))[0] == 0
    for name in ("pod/workspace", "home/agent"):
        assert (await shell(f"cat {name}/file", reach, tmp_path))[0]


@pytest.mark.usefixtures("has_landlock")
async def test_a_child_without_network_cannot_connect(tmp_path: Path) -> None:
    if kernel.landlock_version() < 4:
        pytest.skip("this kernel's Landlock knows no network")
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code = f"import socket; socket.create_connection(('127.0.0.1', {port})); print('connected')"
    async with server:
        alone = await Child([sys.executable, "-c", code], Reach(), _ENV, tmp_path).run(60)
        with_network = Reach(has_network=True)
        told = await Child([sys.executable, "-c", code], with_network, _ENV, tmp_path).run(60)
    assert b"Permission denied" in alone.complaint
    assert told.printed == b"connected\n"


async def test_a_child_that_takes_too_long_is_killed_with_its_descendants(
    tmp_path: Path,
) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    child = Child(["sh", "-c", "sleep 600 >alive & sleep 600"], Reach(writes=(tmp_path,)), _ENV,
                  tmp_path)  # fmt: skip
    with pytest.raises(TimeoutError):
        await child.run(1)
    # An end of file: nobody holds the other end.
    os.set_blocking(reader, True)
    assert await asyncio.to_thread(os.read, reader, 1) == b""
    os.close(reader)


async def test_a_module_that_fails_reports_it(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="worker"):
        await ask_module("agentrun.runner.snapshot.worker", {}, Reach())


async def test_a_kernel_without_landlock_is_logged_once_and_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def has_none(*_: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    kernel.landlock_version.cache_clear()
    monkeypatch.setattr(kernel, "_call", has_none)
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert await shell("echo done", Reach(), tmp_path) == (0, "done\n")
    finally:
        kernel.landlock_version.cache_clear()
    assert [one.getMessage()[:40] for one in caplog.records] == [
        "The node's kernel has no Landlock (Funct"
    ]
