"""What comes in the instant in which a run ends: a cancellation, and those who continue it."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from dev.mcp_client import ToolCallError
from tests.apiserver.played import (
    Pod,
    Product,
    Site,
    Step,
    active_in,
    installed_anew,
    is_over,
    phase_of,
    played,
)
from tests.e2e.checks import check_journal
from tests.e2e.kube import Json

# A core is busy with them for a minute; beside the other stages that takes five.
pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]

SIDE_BY_SIDE = 12
CONTINUES = 6
FIRST_AIM = 0.05

CLOSE = [Step.RUNNER] * 3
"""After that step it is a matter of milliseconds who comes first, so it is taken more often."""
WAYS = ["asked", "deleted", "free", "free"]


@pytest.fixture(scope="module")
def product(crds: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with installed_anew("races", tmp_path_factory.mktemp("product")) as made:
        yield made


@dataclass
class Race:
    """When a run is cancelled: at a step of its end, or, without one, when it has ended."""

    name: str
    step: Step | None
    way: str
    """What the run waits for before it takes the step: `free`, it does not wait."""
    ends_by_halves: bool
    is_at_the_step: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self, site: Site, pod: Pod, step: Step) -> None:
        """Have the run come to its end."""
        pod.ends_by_halves = self.ends_by_halves
        if step is not self.step:
            return
        self.is_at_the_step.set()
        if self.way == "asked":
            await site.runs.until(self.name, lambda run: "cancellation" in run["spec"])
        if self.way == "deleted":
            await pod.deleted()

    async def run(self, site: Site, pause: float) -> str:
        """Run the race, and say how the run ended."""
        await site.start(self.name)
        if self.step is None:
            await site.runs.until(self.name, is_over)
        else:
            await self.is_at_the_step.wait()
            if self.way == "free":
                await asyncio.sleep(pause)  # The race is the point: it is run at many instants.
        try:
            told = str((await site.client.cancel(self.name))["status"])
        except ToolCallError as error:
            told = str(error).rpartition("already terminal: ")[2].split(".")[0]
        if told == "cancelled":
            assert not site.node.alive[self.name], "nothing of a cancelled run is left"
        await self._check(site, told)
        return told

    async def _check(self, site: Site, told: str) -> None:
        seen = await site.runs.until(self.name, is_over)
        events = await site.journal(self.name)
        run = await site.client.call("get_run", run_id=self.name)
        assert told == run["status"] == phase_of(seen).lower(), (self, told, run, seen)
        check_journal(events, told)
        assert run["last_seq"] == len(events), "nothing comes after the end"
        if self.step is None:
            assert told == "completed", self
        elif self.way != "free":
            assert told == "cancelled", self
        await site.sessions.until(self.name, lambda session: not active_in(session))


@pytest.mark.parametrize("count", [60, pytest.param(240, marks=pytest.mark.full)])
async def test_cancelling_during_completion_is_always_consistent(
    product: Product, tmp_path: Path, count: int
) -> None:
    chance = random.Random(7)
    races = {
        name: Race(
            name, chance.choice([*Step, *CLOSE, None]), chance.choice(WAYS), chance.random() < 0.3
        )
        for name in (f"race-{count}-{number:03}" for number in range(count))
    }
    side_by_side, aim = asyncio.Semaphore(SIDE_BY_SIDE), FIRST_AIM

    async def before(pod: Pod, step: Step) -> None:
        await races[pod.run].before(site, pod, step)

    async def run(race: Race) -> str:
        nonlocal aim
        async with side_by_side:
            end = await race.run(site, aim * chance.uniform(0, 2))
        if race.step is Step.RUNNER and race.way == "free":
            # Nearer to that instant with each, however busy the machine is.
            aim *= 1.2 if end == "cancelled" else 0.8
        return end

    async with played(product, f"{product.namespace}-cancel-{count}", tmp_path, before) as site:
        ends = await asyncio.gather(*(run(race) for race in races.values()))
    assert set(ends) == {"completed", "cancelled"}, "the race was never close"


async def continued(site: Site, first: str) -> str:
    """Continue a run that is about to end, and return the name of the run that goes on."""
    message = {"role": "user", "parts": [{"type": "text", "text": "Go on."}]}
    try:
        answer = await site.client.call("continue_run", run_id=first, input_message=message)
    except ToolCallError as error:
        if "run is not awaiting additional input: " not in str(error):
            raise
        await site.runs.until(first, is_over)
    else:
        return str(answer["run_id"])
    answer = await site.client.call("continue_run", run_id=first, input_message=message)
    return str(answer["run_id"])


@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.full)])
async def test_continuations_during_completion_all_run_one_at_a_time_in_order(
    product: Product, tmp_path: Path, count: int
) -> None:
    chance = random.Random(7)
    ending = {f"first-{count}-{number:02}": asyncio.Event() for number in range(count)}

    async def before(pod: Pod, step: Step) -> None:
        if pod.run in ending and step is Step.OUTCOME:
            ending[pod.run].set()

    async def go_on(first: str) -> str:
        await ending[first].wait()
        await asyncio.sleep(chance.uniform(0, 4 * FIRST_AIM))  # Around the end, and after it.
        return await continued(site, first)

    async def run(first: str) -> None:
        await site.start(first)
        names = await asyncio.gather(*(go_on(first) for _ in range(CONTINUES)))
        assert len(set(names)) == CONTINUES
        for run in await asyncio.gather(*(site.runs.until(name, is_over) for name in names)):
            assert phase_of(run) == "Completed", run
        await site.sessions.until(first, lambda session: not active_in(session))
        await check_order(site, first, names)

    async with played(product, f"{product.namespace}-continue-{count}", tmp_path, before) as site:
        await asyncio.gather(*(run(first) for first in ending))


async def check_order(site: Site, first: str, names: list[str]) -> None:
    """Check that the runs of a session came one after the other, first come, first served."""
    pods = site.node.begun[first]
    assert sorted(pod.run for pod in pods) == sorted([first, *names]), "each began once"
    for earlier, later in pairwise(pods):
        assert later.went_on_from == earlier.run, "each goes on from what the last has left"
    taken = [(version, run) for version, run in site.sessions.history[first] if run]
    assert [run for _, run in taken] == [pod.run for pod in pods]
    made = {name: made_of(await site.runs.until(name, is_over)) for name in names}
    left, free_since = set(names), 0
    for version, chosen in site.sessions.history[first]:
        if not chosen:
            free_since = version
        elif chosen != first:
            left.remove(chosen)
            # Those to whom the operator had said that they wait when it saw the session free. One
            # that it says so to later may have come when the next was chosen already.
            waiting = [name for name in left if queued_at(site, name) < free_since]
            assert not [name for name in waiting if made[name] < made[chosen]], "first come"
    assert not left


def made_of(run: Json) -> tuple[str, str]:
    """Say when a run was made. Within a second the names decide, which begin with the time."""
    return run["metadata"]["creationTimestamp"], run["metadata"]["name"]


def queued_at(site: Site, name: str) -> int:
    """Return the version with which the operator first said where a run is."""
    return next(version for version, phase in site.runs.history[name] if phase)
