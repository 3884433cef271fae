"""The first process of the agent's container, with an agent that wants to outlive its end."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agentrun.runner.acp import container as container_module
from agentrun.runner.acp.container import Container
from agentrun.runner.layout import Layout
from agentrun.runner.pipe_reader import PipeReader
from agentrun.runner.pipes import Pipes, make_pipes
from dev import tools
from tests.unit.runner.harness import running
from tests.waiting import LATE_SECONDS

pytestmark = pytest.mark.slow

UID = 65534
# One that another uid may execute, also where that of the tests is in somebody's home.
_EXECUTABLE = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
PYTHON = (_EXECUTABLE, "-I", "-S", "-c")
# As the restricted Pod Security Standard has it: no capabilities, no way to get any.
_UNPRIVILEGED = (
    "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs",
    "--bounding-set=-all", "--inh-caps=-all",
)  # fmt: skip
_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@dataclass
class Place:
    """A container with nothing but the init and what it runs."""

    pipes: Pipes
    container: Container
    process: asyncio.subprocess.Process
    said: list[bytes] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        async for line in self.container.lines():
            async with self.changed:
                self.said.append(line)
                self.changed.notify_all()

    async def until_said(self, word: bytes) -> None:
        async with self.changed:
            heard = self.changed.wait_for(lambda: word in self.said)
            await asyncio.wait_for(heard, LATE_SECONDS)

    @property
    def init(self) -> int:
        """The number of the first process, as the machine sees it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text(encoding="ascii"))

    async def output(self) -> str:
        line = await asyncio.wait_for(PipeReader(self.pipes.stdout).readline(), LATE_SECONDS)
        return (line or b"").decode()

    async def end(self) -> bool:
        self.container.end()
        return await asyncio.wait_for(self.container.ended(), LATE_SECONDS)


@pytest.fixture
def root() -> Iterator[Path]:
    """Make a folder that another uid may enter."""
    folder = Path(tempfile.mkdtemp(prefix="agentrun-init-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def a_place(root: Path, *command: str) -> AsyncIterator[Place]:
    layout = Layout(root=root, init_program=tools.agent_init())
    layout.workspace.mkdir()
    (root / "agentrun").mkdir()
    pipes = make_pipes(layout)
    for path in (*layout.pipes.iterdir(), layout.pipes, layout.workspace):
        os.chown(path, UID, UID)
    folders = (str(layout.pipes), str(layout.workspace))
    init = (*_NAMESPACE, *_UNPRIVILEGED, str(layout.pipes / "init"), *folders)
    async with running(*init, *command) as process:
        place = Place(pipes, Container(pipes), process)
        listening = asyncio.create_task(place.listen())
        try:
            yield place
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            pipes.close()


def namespace_of(pid: int) -> str:
    """Name the process namespace that a process is in."""
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def living_in(namespace: str) -> list[int]:
    """List the processes of a process namespace, the dead that nobody has reaped included."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if namespace_of(int(folder.name)) == namespace:
                    found.append(int(folder.name))
            except OSError:
                continue  # it has gone meanwhile
    return found


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        pytest.param(["/bin/sh", "-c", "exit 7"], 7, "", id="code"),
        pytest.param(["/bin/sh", "-c", "kill -9 $$"], 137, "", id="signal"),
        pytest.param(["no-such-agent"], 127, "no-such-agent: not found", id="missing"),
        pytest.param(["/no/such/agent"], 127, "/no/such/agent: not found", id="missing-path"),
        pytest.param(["/etc/passwd"], 126, "/etc/passwd: Permission denied", id="no-program"),
        pytest.param(["script", "8"], 8, "", id="script-without-interpreter"),
        pytest.param(["foreign"], 126, "foreign: Exec format error", id="other-machine"),
    ],
)
async def test_the_agents_exit_code_is_what_a_shell_returns(
    root: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], code: int, words: str
) -> None:
    monkeypatch.setenv("PATH", f"/nowhere:{root}:/usr/bin:/bin")
    (root / "script").write_text('exit "$1"\n')
    (root / "foreign").write_bytes(b"\x7fELF" + b"\x02" * 60)
    for name in ("script", "foreign"):
        (root / name).chmod(0o755)
    async with a_place(root, *command) as place:
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        await place.until_said(str(code).encode())
        if words:
            line = await asyncio.wait_for(PipeReader(place.pipes.stderr).readline(), LATE_SECONDS)
            assert line == words.encode()
        assert await place.end()
        assert await asyncio.wait_for(place.process.wait(), LATE_SECONDS) == 0
    assert place.said == [b"started", str(code).encode(), b"end"]


async def test_no_process_of_the_agent_runs_before_the_start_signal(root: Path) -> None:
    async with a_place(root, "/bin/sh", "-c", "echo begun >begun; sleep 1000") as place:
        await asyncio.wait_for(place.container._is_connected.wait(), LATE_SECONDS)
        namespace = namespace_of(place.init)
        assert living_in(namespace) == [place.init]
        assert not (root / "workspace/begun").exists()
        # And nothing is left by whose name the agent could speak as the init does.
        assert {path.name for path in (root / "agentrun/pipes").iterdir()} == {
            "bin", "call", "init",
        }  # fmt: skip
        assert await place.end()
        assert await asyncio.wait_for(place.process.wait(), LATE_SECONDS) == 0
    assert b"started" not in place.said


async def test_the_agent_starts_with_no_ignored_signals_and_only_the_standard_streams(
    root: Path,
) -> None:
    # Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 are the C library's, which lets nobody
    # change whether they are ignored.
    left = sum(1 << number - 1 for number in (signal.SIGPIPE, signal.SIGXFSZ, 32, 33))
    code = (
        "import os, json, re; s = open('/proc/self/status').read();"
        "found = re.findall('Sig(?:Blk|Ign|Cgt):.*([0-9a-f]{16})', s);"
        f"print(json.dumps([int(found[0], 16), int(found[1], 16) & ~{left},"
        "len(os.listdir('/proc/self/fd')) - 1, os.getcwd()]), flush=True)"
    )
    async with a_place(root, *PYTHON, code) as place:
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        assert json.loads(await place.output()) == [0, 0, 3, str(root / "workspace")]


_TRIES = """
import ctypes, json, os, resource, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
held = {}
def tried(name, call):
    try:
        held[name] = repr(call())
    except OSError as error:
        held[name] = type(error).__name__
def syscall(*words):
    result = libc.syscall(*[ctypes.c_long(word) for word in words])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def connect():
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1] + "/control")
def trace(request):
    if libc.ptrace(request, 1, None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
tried("trace", lambda: trace(16))
tried("seize", lambda: trace(0x4206))
init = syscall(434, 1, 0)
for number in range(16):
    tried("descriptor-%d" % number, lambda: syscall(438, init, number, 0))
    tried("open-%d" % number, lambda: os.open("/proc/1/fd/%d" % number, os.O_RDWR))
tried("descriptors", lambda: os.listdir("/proc/1/fd"))
tried("memory", lambda: os.open("/proc/1/mem", os.O_RDWR))
tried("environment", lambda: open("/proc/1/environ").read())
tried("oom", lambda: open("/proc/1/oom_score_adj", "w").write("1000"))
tried("root", lambda: os.listdir("/proc/1/root"))
tried("connect", connect)
for number in range(1, 65):
    os.kill(1, number)
os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))
for limit in range(16):
    # Its own hand on the first process: no capability is asked for that.
    if limit != resource.RLIMIT_CPU:
        resource.prlimit(1, limit, (0, 0))
print(json.dumps(held), flush=True)
"""


async def test_no_process_of_the_agent_can_control_the_first(root: Path) -> None:
    folder = str(root / "agentrun/pipes")
    async with a_place(root, *PYTHON, _TRIES + "signal.pause()", folder) as place:
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        held = json.loads(await place.output())
        init = place.init
        namespace = namespace_of(init)
        assert {name for name, how in held.items() if how != "PermissionError"} == {"connect"}
        assert held["connect"] == "FileNotFoundError"
        # Every signal was sent, every limit is nothing: it lives, and hears the stop.
        await place.until_said(b"started")
        assert place.said == [b"started"]
        assert await place.end()
        assert set(living_in(namespace)) <= {init}
    assert place.said == [b"started", b"137", b"end"]


_DETACH = """
import os, signal, sys, time
def detached(work):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    work()
    os._exit(0)
def forks():
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            pass
def resource_bound(count):
    import resource
    resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
def kills():
    while True:
        for number in range(1, 65):
            os.kill(1, number)
"""
_HOSTILE = {
    "leaves-a-child": "detached(signal.pause); time.sleep(1); print('x', flush=True)",
    "stays": "[signal.signal(n, signal.SIG_IGN) for n in range(1, 32) if n not in (9, 19)];"
    "print('x', flush=True); signal.pause()",
    "stopped": "detached(lambda: os.kill(os.getpid(), 19)); print('x', flush=True); signal.pause()",
    "traced": "import ctypes; libc = ctypes.CDLL(None)\n"
    "pid = os.fork()\n"
    "if pid == 0: signal.pause()\n"
    "libc.ptrace(16, pid, 0, 0); print('x', flush=True); signal.pause()",
    "floods-with-signals": "detached(kills); detached(kills); print('x', flush=True); kills()",
    "zombies": "detached(lambda: [os.fork() == 0 and os._exit(0) for _ in range(10**9)]);"
    "print('x', flush=True); signal.pause()",
    "forks-without-end": "resource_bound(300); detached(forks); print('x', flush=True); forks()",
    "holds-the-pipes": "detached(lambda: [os.open(p, os.O_RDWR | os.O_NONBLOCK) for p in "
    "['/proc/self/fd/0', '/proc/self/fd/1', sys.argv[1] + '/call']] and signal.pause());"
    "print('x', flush=True); signal.pause()",
}


@pytest.mark.parametrize("attack", list(_HOSTILE))
async def test_the_final_event_is_sent_when_no_process_of_the_agent_runs(
    root: Path, attack: str
) -> None:
    folder = str(root / "agentrun/pipes")
    async with a_place(root, *PYTHON, _DETACH + _HOSTILE[attack], folder) as place:
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        assert await place.output() == "x"
        init = place.init
        namespace = namespace_of(init)
        assert await place.end()
        assert set(living_in(namespace)) <= {init}
        assert await asyncio.wait_for(place.process.wait(), LATE_SECONDS) == 0
    assert place.said[-1] == b"end"


async def test_zombies_are_reaped_all_the_time(root: Path) -> None:
    code = _DETACH + "[detached(lambda: None) for _ in range(500)]\nprint('x', flush=True)\n"
    code += "while len([n for n in os.listdir('/proc') if n.isdigit()]) > 2: time.sleep(0.01)\n"
    async with a_place(root, *PYTHON, code + "sys.exit(5)") as place:
        # Its own children of the first fork are its own to reap.
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        assert await place.output() == "x"
        namespace = namespace_of(place.init)

        def orphans() -> list[int]:
            living = living_in(namespace)
            return [one for one in living if _parent(one) == place.init]

        async with asyncio.timeout(LATE_SECONDS):
            while len(orphans()) > 1:  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.05)  # Looks again, within the bound.


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return 0


async def test_a_killed_first_process_has_ended_when_the_kernel_has_killed_all(
    root: Path,
) -> None:
    """As by the kernel for want of memory: its own last word is never said."""
    code = _DETACH + "[detached(signal.pause) for _ in range(50)]; print('x', flush=True)\n"
    async with a_place(root, *PYTHON, code + "signal.pause()") as place:
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        assert await place.output() == "x"
        init = place.init
        namespace = namespace_of(init)
        os.kill(init, signal.SIGKILL)
        assert await asyncio.wait_for(place.container.ended(), LATE_SECONDS)
        assert set(living_in(namespace)) <= {init}
    assert b"end" not in place.said


async def test_an_end_that_neither_the_process_nor_the_kernel_confirms_is_uncertain(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    introduction = container_module._introduction

    async def without_the_kernel(connection: socket.socket) -> None:
        descriptor = await introduction(connection)
        assert descriptor is not None
        os.close(descriptor)

    monkeypatch.setattr(container_module, "_introduction", without_the_kernel)
    async with a_place(root, "/bin/sleep", "1000") as place:
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        await place.until_said(b"started")
        os.kill(place.init, signal.SIGKILL)
        assert not await asyncio.wait_for(place.container.ended(), LATE_SECONDS)


async def test_all_processes_end_when_the_runner_exits(root: Path) -> None:
    code = _DETACH + "detached(signal.pause); print('x', flush=True); signal.pause()"
    async with a_place(root, *PYTHON, code) as place:
        await asyncio.wait_for(place.container.begin(), LATE_SECONDS)
        assert await place.output() == "x"
        namespace = namespace_of(place.init)
        assert place.container._connection is not None
        place.container._connection.shutdown(socket.SHUT_WR)
        await place.until_said(b"end")
        assert await asyncio.wait_for(place.process.wait(), LATE_SECONDS) == 0
        assert living_in(namespace) == []


def test_it_runs_only_as_the_first_process_of_a_container() -> None:
    command = [str(tools.agent_init()), "/", "/", "true"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not the first process of a container" in done.stderr
