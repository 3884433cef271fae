"""Nothing of an agent, of the cluster or of a server is obeyed by a terminal."""

import ast
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from agentrun.cli.answers import Option, Question
from agentrun.cli.asking import answer_to
from agentrun.cli.terminal import PrintableStream, json_text, open_console
from tests.unit.cli.fake_server import START, FakeServer, view
from tests.unit.cli.programs import PROGRAM, ROOT, called
from tests.unit.cli.terminal import call

EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b2J\u202egnp\x7f\x08"
CLI = ROOT / "operator" / "agentrun" / "cli"


def assert_harmless(text: str) -> None:
    bad = {character for character in text if not (character.isprintable() or character == "\n")}
    assert not bad, (bad, text)


def hostile(value: Any) -> Any:
    """Put something into each text that an MCP server answers with."""
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, dict):
        return {
            key + EVIL if key == "metadata" else key: hostile(one) for key, one in value.items()
        }
    return [hostile(one) for one in value] if isinstance(value, list) else value


def a_hostile_run(fake: FakeServer) -> None:
    more = {
        "question": {"id": "q", "text": "May I?", "options": [{"id": "yes", "name": "Yes"}]},
        "prompt": "Do", "error": "no", "message": "m", "pod": "p", "node": "n", "reason": "R",
        "requested_by": "ada", "result": {"summary": "Done", "branch": "b", "files_changed": 1},
        "usage": {"cost_usd": "1"},
    }  # fmt: skip
    made = hostile(view("run-1", "input_required", **more))
    for name in ("started_at", "updated_at"):
        made[name] = START
    run = fake.add("run-1")
    run.view |= made | {"run_id": "run-1", "status": "input_required"}
    for kind, data in (
        ("agent_message", {"text": "said"}), ("command_started", {"command": "ls"}),
        ("tool_started", {"tool": "t", "title": "t"}), ("unknown", {"text": "x"}),
        ("status_changed", {"status": "failed", "message": "why"}),
        ("todo_updated", {"items": [{"text": "one"}]}),
        ("file_changed", {"changes": [{"path": "p", "kind": "add"}]}),
    ):  # fmt: skip
        run.add(kind, **hostile(data))
    fake.agents = [
        hostile({"agent_name": "ada", "status": "idle", "role": "worker", "last_run_id": "r"})
    ]
    fake.next_cursor = f"more{EVIL}"
    body = {"parts": [{"type": "text", "text": "hello"}, {"type": "data", "data": {"a": "b"}}]}
    fake.mailbox = [{"seq": 1, **hostile({"from_agent_name": "ada", "body": body})}]
    fake.profiles = [hostile({"name": "p", "backend": "codex", "description": "d"})]
    fake.artifacts[1, "/patch"] = EVIL.encode()


COMMANDS = (
    ("runs", "list"), ("runs", "show", "run-1"), ("runs", "wait", "run-1"),
    ("events", "tail", "run-1", "--no-follow"), ("events", "tail", "run-1"), ("agents", "list"),
    ("agents", "inbox", "ada"), ("profiles", "list"), ("agents", "send", "ada", "hello"),
)  # fmt: skip


@pytest.mark.parametrize("output", ["text", "json", "jsonl"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_control_sequences_in_answers_are_not_interpreted(
    fake: FakeServer, command: tuple[str, ...], output: str
) -> None:
    a_hostile_run(fake)
    done = call(fake, *command, "-o", output)
    assert done.out
    assert_harmless(done.out + done.err)


async def test_control_sequences_in_errors_are_not_interpreted(
    fake: FakeServer, tmp_path: Path
) -> None:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "operator"),
        "AGENTRUN_URL": fake.url, "AGENTRUN_TOKEN": "token",
    }  # fmt: skip
    for command in (
        ("runs", "show", f"unknown{EVIL}"),
        ("runs", "list", f"--{EVIL}"),
        ("runs", "show", "x", "--url", f"http://127.0.0.1:1/{EVIL}"),
        ("mcp", "--check", "--url", f"ftp://x{EVIL}"),
    ):
        done = await called(*PROGRAM, *command, env=environment)
        assert done.returncode in (2, 8)
        assert done.stderr
        assert_harmless(done.stdout + done.stderr)


def test_escaped_json_has_the_same_meaning() -> None:
    value = {f"key{EVIL}": [EVIL, "é 😀 \U000e0041 \u2028"]}
    for indent in (None, 2):
        text = json_text(value, indent=indent)
        assert_harmless(text)
        assert json.loads(text) == value
    assert "é 😀" in text


def test_console_keeps_only_its_own_colours() -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    made = Tty()
    console = open_console(PrintableStream(made))
    console.print(EVIL)
    console.print(Text(EVIL, style="red"))
    assert "\x1b[31m\\x1b]52" in made.getvalue()
    assert not set(made.getvalue()) & set("\x07\x9b\u202e\x7f\x08")
    assert "\x1b]" not in made.getvalue()


def test_stream_writes_escapes() -> None:
    made = io.StringIO()
    stream = PrintableStream(made)
    stream.writelines([EVIL, "\n"])
    print(EVIL, file=stream)
    assert_harmless(made.getvalue())


def test_a_number_selects_its_option() -> None:
    options = [Option(id="2", name="Everything"), Option(id="no", name="No")]
    answer = answer_to(Question(id="q", options=options), "2")
    assert answer["parts"] == [{"type": "data", "data": {"option_id": "no"}}]


_WRITERS = {"terminal.py", "screen.py"}


@pytest.mark.parametrize("path", sorted(CLI.rglob("*.py")), ids=lambda path: path.stem)
def test_only_the_screen_writes_to_the_underlying_streams(path: Path) -> None:
    if path.name in _WRITERS:
        return
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(attr="__stdout__" | "__stderr__" | "buffer"):
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Name(id="Console" | "open_console" | "beneath" | "print")):
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="write")):
                # The bridge's own protocol, read by a program.
                if path.name != "stdio.py":
                    found.append(ast.unparse(node))
            case _:
                pass
    assert not found, f"{path}: write with Screen, or to sys.stderr, instead of {found}"


def test_each_program_takes_over_the_streams_first() -> None:
    for name in ("app.py", "kubectl_complete.py"):
        assert "with printable_streams():" in (CLI / name).read_text(encoding="utf-8")
