"""What a person sees and can do in a real terminal."""

import os
import sys
from contextlib import AbstractAsyncContextManager

from tests.terminals import CTRL_C, CTRL_D, SETTINGS, Terminal, at_terminal, terminal
from tests.unit.cli.fake_server import FakeServer, Json, ending
from tests.unit.cli.programs import PROGRAM, ROOT, SERVER

OPTIONS = [{"id": "yes", "name": "Yes, you may"}, {"id": "no", "name": "No"}]
WORKS: Json = {
    "events": [("command_started", {"command": "make test"})], "view": {"status": "running"},
}  # fmt: skip
ASKS = ending(
    "input_required",
    ("input_required", {"text": "May I?"}),
    question={"id": "q", "text": "May I?", "options": OPTIONS},
    completed_at=None,
)


def person(
    fake: FakeServer, *arguments: str, is_new: bool = False
) -> AbstractAsyncContextManager[Terminal]:
    """Call the command line; if ``is_new``, as a process that was not forked."""
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "HOME": "/nowhere",
        "AGENTRUN_URL": fake.url, "AGENTRUN_TOKEN": "token",
    }  # fmt: skip
    if is_new:
        return terminal([sys.executable, *PROGRAM, *arguments], environment)
    env = {**SETTINGS, **environment}
    return at_terminal(
        lambda theirs: SERVER.fork(
            *PROGRAM, *arguments, env=env, stdin=theirs, stdout=theirs, stderr=theirs
        )
    )


async def test_a_working_run_has_a_line_with_its_time_and_current_activity(
    fake: FakeServer,
) -> None:
    fake.upcoming(WORKS)
    async with person(fake, "run", "Go") as screen:
        await screen.until("$ make test")
        before = await screen.matches(r"run-1 running (\d+)s · \$ make test")
        while int((await screen.matches(r"run-1 running (\d+)s"))[1]) <= int(before[1]):
            pass
        fake.runs["run-1"].later = [ending("completed", ("agent_message", {"text": "Done."}))]
        await screen.until("● Done.")
        await screen.until("✓ run-1 completed")
        assert await screen.ends() == 0
    assert "\x1b[32m" in screen.raw
    assert "run-1 queued" not in screen.text.partition("$ make test")[2], "the line is not behind"


async def test_a_question_is_answered_where_it_is_asked(fake: FakeServer) -> None:
    fake.upcoming(WORKS, ASKS)
    async with person(fake, "run", "Go") as screen:
        await screen.until("? May I?")
        await screen.until("2) No")
        await screen.until("leaves it waiting): ")
        fake.runs["run-1"].later = [ending("completed")]
        screen.type("2\n")
        await screen.until("✓ run-1 completed")
        assert await screen.ends() == 0
    [part] = fake.argument("continue_run")["input_message"]["parts"]
    assert part == {"type": "data", "data": {"option_id": "no"}}


async def test_a_question_is_asked_though_the_status_comes_after_its_event(
    fake: FakeServer,
) -> None:
    early = {"events": [("input_required", {"text": "May I?"})], "view": {"status": "running"}}
    late = {"view": ASKS["view"]}
    fake.upcoming(early, late)
    async with person(fake, "run", "Go") as screen:
        await screen.until("leaves it waiting): ")
        screen.type(CTRL_D)
        assert await screen.ends() == 7


async def test_a_question_may_be_left_unanswered(fake: FakeServer) -> None:
    fake.upcoming(ASKS)
    async with person(fake, "run", "Go") as screen:
        await screen.until("leaves it waiting): ")
        screen.type(CTRL_D)
        await screen.until("agentrun runs continue run-1 ANSWER")
        assert await screen.ends() == 7
    assert not [name for name, _ in fake.calls if name in ("continue_run", "cancel_run")]


async def test_ctrl_c_asks_and_a_second_one_detaches(fake: FakeServer) -> None:
    fake.upcoming(WORKS)
    async with person(fake, "run", "Go", is_new=True) as screen:
        await screen.until("$ make test")
        screen.type(CTRL_C)
        await screen.until("d = leave it running, c = cancel it, Enter = keep watching:")
        screen.type(CTRL_C)
        await screen.until("agentrun runs cancel run-1")
        assert await screen.ends() == 130
    assert "cancel_run" not in [name for name, _ in fake.calls]
    assert "Traceback" not in screen.text


async def test_ctrl_c_ends_the_wait_for_a_run_that_continues(fake: FakeServer) -> None:
    fake.add("run-1")
    async with person(fake, "runs", "wait", "run-1", is_new=True) as screen:
        await screen.until("run-1 running")
        screen.type(CTRL_C)
        await screen.until("run-1 continues:")
        await screen.until("agentrun runs wait run-1")
        assert await screen.ends() == 130
    assert "cancel_run" not in [name for name, _ in fake.calls]


async def test_ctrl_c_can_keep_watching_then_cancel(fake: FakeServer) -> None:
    fake.upcoming(WORKS)
    async with person(fake, "run", "Go") as screen:
        await screen.until("$ make test")
        screen.type(CTRL_C)
        await screen.until("keep watching: ")
        screen.type("\n")
        await screen.until("run-1 running")
        screen.type(CTRL_C)
        await screen.until("keep watching: ")
        screen.type("c\n")
        await screen.until("■ run-1 cancelled")
        assert await screen.ends() == 6


async def test_ctrl_c_can_detach(fake: FakeServer) -> None:
    fake.upcoming(WORKS)
    async with person(fake, "run", "Go") as screen:
        await screen.until("$ make test")
        screen.type(CTRL_C)
        await screen.until("keep watching: ")
        screen.type("d\n")
        await screen.until("run-1 continues")
        assert await screen.ends() == 0


async def test_a_diff_is_coloured_and_its_control_sequences_are_escaped(fake: FakeServer) -> None:
    run = fake.add("run-1", "completed")
    run.add("artifact_added", artifact_refs={"/patch": {}})
    fake.artifacts[1, "/patch"] = b"@@ -1 +1 @@\n-old\n+new\x1b]0;evil\x07\n"
    async with person(fake, "runs", "diff", "run-1") as screen:
        await screen.until("evil\\x07")
        assert await screen.ends() == 0
    assert "\x1b[32m+new\\x1b" in screen.raw
    assert "\x1b[31m-old" in screen.raw


async def test_wait_shows_that_it_waits(fake: FakeServer) -> None:
    fake.add("run-1")
    async with person(fake, "runs", "wait", "ada") as screen:
        await screen.until("run-1 running")
        fake.runs["run-1"].later = [ending("failed", error="no luck")]
        await screen.until("✗ run-1 failed")
        assert await screen.ends() == 5
