"""Runs of remote agents: the A2A agent of the fixtures."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2

from dev import product
from tests.e2e import installation
from tests.e2e.cluster import RUNS, Json
from tests.e2e.installation import Installation

PROFILE = "remote-a2a"

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def profile(name: str = PROFILE, **spec: Any) -> Json:
    """Build a profile of remote agents: there is no image to run."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": name, "namespace": RUNS},
        "spec": {"backend": "remote_a2a", "image": "none", **spec},
    }


def at(agent: str, **more: Any) -> Json:
    """Build the agent's part of a run's spec."""
    return {"agent_url": f"{product.REMOTE}/{agent}", **more}


async def spawn(platform: Installation, config: Json, *steps: list[Any], **more: Any) -> str:
    """Spawn a run of a remote agent and return its id."""
    prompt = f"do {json.dumps(steps)}"
    return await platform.spawn("remote_a2a", prompt, backend_config=config, **more)


@dataclass
class Together(Generic[K, T]):
    """
    Starts work for all keys when the first result is requested: most of it is waiting.

    ``make`` does the work for a key and returns what its test needs. At most ``at_once`` run
    concurrently, started in the order of ``keys``: on a small machine, more starting pods only
    delay one another.
    """

    make: Callable[[Installation, K], Coroutine[Any, Any, T]]
    keys: Iterable[K]
    at_once: int = 4
    _begun: "dict[K, asyncio.Task[T]]" = field(default_factory=dict)

    async def of(self, platform: Installation, key: K) -> T:
        """Return the result for a key."""
        if not self._begun:
            free = asyncio.Semaphore(self.at_once)
            self._begun = {
                one: asyncio.create_task(self._made(platform, one, free))
                for one in dict.fromkeys(self.keys)
            }
        return await self._begun[key]

    async def _made(self, platform: Installation, key: K, free: asyncio.Semaphore) -> T:
        async with free:
            return await self.make(platform, key)


def a_run(name: str, config: Json | None, *steps: list[Any], **more: Any) -> Json:
    """Build an AgentRun of a remote agent, as kubectl creates it."""
    spec: Json = {"backend": "remote_a2a", "prompt": json.dumps(steps), "profile": PROFILE}
    if config:
        spec["backendConfig"] = config
    return installation.a_run(name, **spec | more)


def task_of(status: Json) -> str | None:
    """Return the id of a run's remote task, once the agent has sent it."""
    ref = (status.get("agent") or {}).get("remoteRef") or {}
    task: str | None = ref.get("taskID")
    return task


async def seen(url: str, agent: str) -> Json:
    """Return what an agent received, by conversation, and the tasks that it was asked to cancel."""
    async with httpx2.AsyncClient(timeout=10, verify=False) as http:
        found: Json = (await http.get(f"{url}/{agent}/seen")).json()
    return found
