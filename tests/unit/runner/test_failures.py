"""
Rows of the catalogue of failures that begin and end in the runner: what an agent does wrong.

How the reason and the message come through to all that users see, other rows show end to end.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.acp.client import HANDSHAKE_SECONDS, AcpAgent
from dev.failures import find
from dev.failures.row import Failure
from tests.failures import promised
from tests.unit.runner.ends import check_told, sooner
from tests.unit.runner.harness import FakeGateway, a_gateway, pod

pytestmark = pytest.mark.slow

INITIALIZED = json.dumps({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": 1}})
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
WAITS = 1.0
"""Seconds, in the place of the minute for which the runner waits for an answer."""
BOUNDS = dict.fromkeys(
    (
        "agentrun.runner.acp.client.HANDSHAKE_SECONDS",
        "agentrun.runner.acp.client.AcpAgent.handshake",
    ),
    WAITS,
)


def doing(*steps: list[Any], **spec: Any) -> dict[str, Any]:
    """A run of the trivial agent, as ``a_gateway`` takes it."""
    return {"prompt": json.dumps(steps), **spec}


def python(*lines: str) -> list[str]:
    """An agent program in Python."""
    return [sys.executable, "-c", "\n".join(("import sys, time", *lines))]


TURNS: dict[str, dict[str, Any]] = {
    "agent-exits-in-turn": doing(["exit", 3]),
    "agent-exits-silently": doing(["run", "kill -9 $PPID"]),
    "agent-line-too-long": doing(["line", 40_000_000]),
    "agent-answers-error": doing(["fail", "the agent cannot go on"]),
    "refused": doing(["say", "I would rather not"], ["stop", "refusal"]),
    "limit-tokens": doing(["stop", "max_tokens"]),
    "limit-turns": doing(["stop", "max_turn_requests"]),
    "no-answer": doing(["sleep", 0]),
    "turn-cancelled": doing(["stop", "cancelled"]),
    "turn-unknown-end": doing(["stop", "tired"]),
    "output-invalid": doing(["say", '{"answer": 42}'], output_schema=SCHEMA),
    "output-schema": doing(
        ["say", "never"], output_schema={"properties": {"item": {"$ref": "#/$defs/Item"}}}
    ),
}
# The sleeps here are agents that say nothing more, which is what is tried.
SILENT: dict[str, list[str]] = {
    "agent-mute": python("time.sleep(1e6)"),
    "agent-garbage": python("print('Welcome to the agent!', flush=True)", "time.sleep(1e6)"),
    "agent-no-session": python(
        "sys.stdin.readline()", f"print({INITIALIZED!r}, flush=True)", "time.sleep(1e6)"
    ),
}


async def check_failure(
    root: Path,
    row: Failure,
    gateway: FakeGateway,
    command: list[str] | None = None,
    bounds: Mapping[str, float] | None = None,
) -> None:
    """Run a pod to its end, and compare all that it says with the row."""
    async with pod(root, gateway, command, bounds=bounds) as it:
        await it.ended()
        assert it.processes() == []
    assert it.termination == gateway.outcome
    check_told(row, gateway)


@promised(*TURNS)
async def test_a_failed_turn_ends_the_run_with_the_reason(tmp_path: Path, key: str) -> None:
    await check_failure(tmp_path, find(key), a_gateway(**TURNS[key]))


@promised(*SILENT)
async def test_an_agent_that_does_not_respond_ends_the_run_in_time(
    tmp_path: Path, key: str
) -> None:
    assert AcpAgent.handshake.__defaults__ == (HANDSHAKE_SECONDS,)
    row = sooner(find(key), HANDSHAKE_SECONDS, WAITS)
    await check_failure(tmp_path, row, a_gateway(["say", "never"]), SILENT[key], BOUNDS)


@promised("output-check-slow")
async def test_a_pattern_without_an_end_ends_the_run_with_the_reason(
    tmp_path: Path, key: str
) -> None:
    told = json.dumps({"answer": "a" * 40 + "!"})
    schema = {**SCHEMA, "properties": {"answer": {"pattern": "^(a+)+$"}}}
    gateway = a_gateway(**doing(["say", told], output_schema=schema))
    # Longer than the schema's check takes, which has the same limit.
    bounds = {"agentrun.runner.answer_check.SECONDS": 4.0}
    await check_failure(tmp_path, find(key), gateway, bounds=bounds)


@promised("agent-exits-early")
async def test_a_program_that_exits_at_once_ends_the_run_with_the_reason(
    tmp_path: Path, key: str
) -> None:
    gateway = a_gateway(["say", "never"])
    await check_failure(tmp_path, find(key), gateway, python("sys.exit(0)"))


@promised("agent-foreign")
async def test_a_program_for_another_architecture_ends_the_run_with_the_reason(
    tmp_path: Path, key: str
) -> None:
    foreign = for_mips(tmp_path / "agent")
    await check_failure(tmp_path, find(key), a_gateway(["say", "never"]), [str(foreign)])


def for_mips(file: Path) -> Path:
    """Make a program that no machine of ours can execute."""
    program = bytearray(Path(sys.executable).read_bytes())
    program[18:20] = b"\x08\x00"  # e_machine of the ELF header
    file.write_bytes(program)
    file.chmod(0o755)
    return file
