import json
import os
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from dev import processes


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        pytest.param("7 (bash) S " + "0 " * 18 + "4711 0", 4711, id="plain"),
        pytest.param("7 (a) b (c) S " + "0 " * 18 + "4711 0", 4711, id="name-with-parentheses"),
        pytest.param("7 (bash) Z " + "0 " * 18 + "4711 0", None, id="zombie"),
    ],
)
def test_parse_started(stat: str, expected: int | None) -> None:
    assert processes.parse_started(stat) == expected


def record(folder: Path, process: processes.Process) -> Path:
    file = folder / "record.json"
    file.write_text(json.dumps(asdict(process)), encoding="utf-8")
    return file


def this_process() -> processes.Process:
    started = processes.started(os.getpid())
    assert started is not None
    return processes.Process(os.getpid(), started)


def test_a_recorded_process_is_found_again(tmp_path: Path) -> None:
    assert processes.load(record(tmp_path, this_process())) == this_process()


def test_another_process_with_the_same_pid_is_not_taken_for_it(tmp_path: Path) -> None:
    me = this_process()
    other = record(tmp_path, processes.Process(me.pid, me.started - 1))
    assert processes.load(other) is None
    processes.stop(other)
    assert not other.exists()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"pid": 1}'])
def test_a_broken_record_is_no_process(tmp_path: Path, content: str) -> None:
    file = tmp_path / "record.json"
    file.write_text(content, encoding="utf-8")
    assert processes.load(file) is None
    assert processes.load(tmp_path / "none.json") is None


@pytest.mark.parametrize("command", ["read line", "trap '' TERM; read line; read line"])
def test_stop_ends_a_process_even_if_it_ignores_signals(tmp_path: Path, command: str) -> None:
    child = subprocess.Popen(["bash", "-c", command], stdin=subprocess.PIPE)
    started = processes.started(child.pid)
    assert started is not None
    processes.stop(record(tmp_path, processes.Process(child.pid, started)), seconds=0.2)
    assert child.wait() in {-signal.SIGTERM, -signal.SIGKILL}
    assert child.stdin is not None
    child.stdin.close()


def test_processes_left_in_a_cgroup_end_with_it() -> None:
    name = f"agentrun-unit-{os.getpid()}"
    with processes.weighing(name, 4) as enter:
        program = subprocess.Popen(["sleep", "1000"], preexec_fn=enter)
        inside = (processes.weighed(name) / "cgroup.procs").read_text(encoding="ascii").split()
        assert inside == [str(program.pid)]
    assert program.wait() == -signal.SIGKILL
    assert not processes.weighed(name).exists()
