import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from agentrun.backoff import Backoff, retry

T = TypeVar("T")
PAUSES = (1.0, 2.0, 5.0)


class AwayError(Exception):
    pass


class Selector(selectors.SelectSelector):
    """Advances the clock by the time that the loop would wait for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing is scheduled"
        self.now += max(0.0, timeout)
        return super().select(0)


class PlayedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._clock = Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=PlayedLoop) as runner:
        return runner.run(work)


class Server:
    """Fails with ``errors`` one after the other, then answers, and records when it is called."""

    def __init__(self, *errors: Exception, answers_after: float = 0.0) -> None:
        self.errors = list(errors)
        self.answers_after = answers_after
        self.calls: list[float] = []

    async def call(self) -> str:
        self.calls.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(self.answers_after)
        return "answer"

    def ask(
        self, seconds: float | None = None, note: Callable[[Exception], None] | None = None
    ) -> str:
        def is_away(error: Exception) -> bool:
            return isinstance(error, AwayError)

        return run(retry(self.call, PAUSES, is_away, seconds=seconds, note=note))


def test_the_last_pause_repeats_until_a_reset() -> None:
    backoff = Backoff(PAUSES)
    assert [backoff.next() for _ in range(5)] == [1.0, 2.0, 5.0, 5.0, 5.0]
    backoff.reset()
    assert [backoff.next() for _ in range(2)] == [1.0, 2.0]


def test_backoff_sleeps_for_its_pauses() -> None:
    async def wait() -> float:
        backoff = Backoff(PAUSES)
        await backoff.wait()
        await backoff.wait()
        return asyncio.get_running_loop().time()

    assert run(wait()) == pytest.approx(3.0)


def test_call_that_succeeds_is_not_repeated() -> None:
    server = Server()
    assert server.ask() == "answer"
    assert server.calls == [0.0]


def test_call_is_repeated_with_growing_pauses_until_it_succeeds() -> None:
    server, noted = Server(*(AwayError(str(n)) for n in range(4))), list[str]()
    assert server.ask(note=lambda error: noted.append(str(error))) == "answer"
    assert server.calls == pytest.approx([0.0, 1.0, 3.0, 8.0, 13.0])
    assert noted == ["0", "1", "2", "3"]


def test_error_that_is_not_transient_is_raised_at_once() -> None:
    server = Server(AwayError(), ValueError("invalid"))
    with pytest.raises(ValueError, match="invalid"):
        server.ask(seconds=100.0)
    assert server.calls == pytest.approx([0.0, 1.0])


def test_last_error_is_raised_when_the_time_is_up() -> None:
    server = Server(*(AwayError(str(n)) for n in range(9)))
    with pytest.raises(AwayError, match="2"):
        server.ask(seconds=7.0)
    assert server.calls == pytest.approx([0.0, 1.0, 3.0])


def test_call_in_progress_is_cancelled_when_the_time_is_up() -> None:
    server = Server(AwayError("away"), answers_after=60.0)
    with pytest.raises(AwayError, match="away"):
        server.ask(seconds=10.0)
    with pytest.raises(TimeoutError):
        Server(answers_after=60.0).ask(seconds=10.0)


def test_timeout_of_the_call_itself_is_not_the_end_of_the_time() -> None:
    with pytest.raises(TimeoutError, match="its own"):
        Server(AwayError(), TimeoutError("its own")).ask(seconds=10.0)
