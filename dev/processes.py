"""
The cluster's own processes: started into the background, found again, and ended for certain.

A pid alone proves nothing: it may belong to somebody else by now. So each record carries the
start time the kernel gave the process, and nothing is signalled unless that still matches.
What was not started here directly (containers and their shims) is found by the control group
that all of the cluster lives in.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.shell import wait_until

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
# In the place of one: what a cluster weighs beside a process, and its API server, kubelet and the
# like beside its pods, which the kubelet gives two, one for each core.
_CLUSTER, _NODE = int(os.environ.get("AGENTRUN_CLUSTER_WEIGHT", "8")), 3
# Nearly all of them are written in Go, and memory is not what is short.
_ENVIRONMENT = {"GOGC": "400"}


@dataclass(frozen=True)
class Process:
    """A process, told apart from a later one with the same pid."""

    pid: int
    started: int
    """In clock ticks since the machine was started."""


def boot_id() -> str:
    """Name this start of the machine: records of another one mean nothing."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def parse_started(stat: str) -> int | None:
    """Read the start time from ``/proc/PID/stat``; a zombie counts as gone."""
    # The second field is the program's name, and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def started(pid: int) -> int | None:
    """Ask the kernel when ``pid`` was started, if it is there."""
    try:
        return parse_started((PROC / str(pid) / "stat").read_text(encoding="utf-8"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def load(record: Path) -> Process | None:
    """Read the process of a record, if it is still the one that was written down."""
    try:
        process = Process(**json.loads(record.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return process if started(process.pid) == process.started else None


def start(command: Sequence[object], record: Path, log: Path, cgroup: str, netns: str) -> None:
    """Start ``command`` in the background, in its network namespace and control group."""
    # A shell moves itself into the groups first, so that no child is ever born outside. nsenter,
    # because `ip netns exec` mounts a new /sys, in which the kubelet finds no control groups.
    enter = 'for group in $0; do echo $$ > "$group"; done; exec nsenter --net="$1" -- "${@:2}"'
    groups = [folder / "node" / "cgroup.procs" for folder in (tracked(cgroup), weighed(cgroup))]
    joined = [" ".join(map(str, dict.fromkeys(groups))), netns, *map(str, command)]
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["bash", "-c", enter, *joined],
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    began = started(child.pid)
    if began is not None:
        process = Process(child.pid, began)
        record.write_text(json.dumps(asdict(process)), encoding="utf-8")


def stop(record: Path, seconds: float = 6) -> None:
    """End the recorded process, politely at first, and return when it is gone."""
    process = load(record)
    if process is not None:
        _signal(process, signal.SIGTERM)
        end = time.monotonic() + seconds
        while load(record) is not None and time.monotonic() < end:
            time.sleep(0.02)
        kill([process])
    record.unlink(missing_ok=True)


def kill(processes: Iterable[Process]) -> None:
    """Kill ``processes`` and wait until none is left."""
    for process in (left := list(processes)):
        _signal(process, signal.SIGKILL)
    wait_until(
        "killed processes are gone",
        lambda: all(started(process.pid) != process.started for process in left),
    )


def hierarchies() -> list[Path]:
    """List the roots of the machine's control groups: one with cgroup v2, several with v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted(folder for folder in CGROUPS.iterdir() if not folder.is_symlink())


def tracked(cgroup: str) -> Path:
    """Name the folder that lists every process of ``cgroup``."""
    root = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "pids"
    return root / cgroup


def weighed(cgroup: str) -> Path:
    """Name the folder that says how much of the CPU ``cgroup`` gets while it is short."""
    root = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "cpu"
    return root / cgroup


def make_cgroup(cgroup: str) -> None:
    """
    Make ``cgroup`` in every hierarchy, as the kubelet asks of a root it is given.

    Without a weight of its own the whole cluster would get as much of a busy CPU as any one
    process beside it, and all of its pods together no more than one.
    """
    for root in hierarchies():
        (root / cgroup).mkdir(exist_ok=True)
    for folder, weight in ((weighed(cgroup), _CLUSTER), (weighed(cgroup) / "node", _NODE)):
        folder.mkdir(exist_ok=True)
        _weigh(folder, weight)
    (tracked(cgroup) / "node").mkdir(exist_ok=True)


@contextlib.contextmanager
def weighing(group: str, weight: int) -> Iterator[Callable[[], None]]:
    """
    Give what moves a new process into a group that weighs so much, as clusters weigh eight.

    Whatever is left in it at the end is killed.
    """
    folder = weighed(group)
    folder.mkdir(exist_ok=True)
    _weigh(folder, weight)
    try:
        yield lambda: _enter(folder)
    finally:
        _end_all(folder)
        wait_until(f"{folder} is empty", lambda: _removed(folder))


def _enter(folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def _weigh(folder: Path, weight: int) -> None:
    """Give a group so many times the weight of an ordinary process, as its hierarchy counts."""
    for name, unit in (("cpu.shares", 1024), ("cpu.weight", 100)):
        file = folder / name
        if file.exists():
            file.write_text(str(weight * unit), encoding="ascii")


def members(cgroup: str) -> list[Process]:
    """List every process in ``cgroup``, however it came there."""
    return _inside(tracked(cgroup))


def _inside(folder: Path) -> list[Process]:
    found = []
    for file in folder.rglob("cgroup.procs"):
        for pid in map(int, _lines(file)):
            began = started(pid)
            if began is not None:
                found.append(Process(pid, began))
    return found


def remove_cgroup(cgroup: str) -> None:
    """Kill whatever is left in ``cgroup``, and remove it."""
    _end_all(tracked(cgroup))
    for root in hierarchies():
        for folder, _, _ in os.walk(root / cgroup, topdown=False):
            # The kernel lets go of a group a moment after its last process.
            wait_until(f"{folder} is empty", lambda folder=folder: _removed(Path(folder)))  # type: ignore[misc]


def _end_all(folder: Path) -> None:
    # Again, until none has started another meanwhile.
    while left := _inside(folder):
        kill(left)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        # The group was removed while it was being read.
        return []


def _signal(process: Process, number: signal.Signals) -> None:
    if started(process.pid) == process.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
