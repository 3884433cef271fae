"""The attempt's transcript, as the runner's log shows it."""

import io

from agentrun.api.events import EventType
from agentrun.runner.transcript import Transcript


def test_transcript_is_readable_in_order() -> None:
    out = io.StringIO()
    times = iter([0.0, 1.25, 62.0, 63.0])
    transcript = Transcript(out, lambda: next(times))
    transcript.event(EventType.COMMAND_STARTED, {"command": "make"})
    transcript.event(EventType.COMMAND_FINISHED, {"output": "a\nb\n", "exit_code": 2})
    transcript.event(EventType.RUN_STARTED, {"thread_id": "x"})
    transcript.event(EventType.AGENT_MESSAGE, {"text": "It failed.\n"})
    assert out.getvalue().splitlines() == [
        "  0:01.2  $ make",
        "  1:02.0  = a",
        "             b",
        "             (exit code 2)",
        "  1:03.0  > It failed.",
    ]


def test_transcript_shows_the_end_of_long_output() -> None:
    out = io.StringIO()
    output = "\n".join(str(number) for number in range(1000))
    Transcript(out).event(EventType.COMMAND_FINISHED, {"output": output, "exit_code": 0})
    lines = out.getvalue().splitlines()
    assert len(lines) < 30
    assert "lines above" in lines[0]
    assert lines[-2].strip() == "999"


def test_transcript_contains_no_control_sequences() -> None:
    out = io.StringIO()
    text = (
        "red \x1b[31m bell \x07 back \x08 nul \x00 c1 \x9b right \u202e half \ud800 tab\t \xa0é😀"
    )
    Transcript(out).event(EventType.AGENT_MESSAGE, {"text": text})
    line = out.getvalue()
    assert line.count("\n") == 1
    line.encode()
    assert not set(line) & set("\x1b\x07\x08\x00\x9b\u202e")
    assert "red \\x1b[31m bell \\x07" in line
    assert "tab\t \xa0é😀" in line
