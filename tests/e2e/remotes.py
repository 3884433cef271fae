"""Runs whose agent is elsewhere: the A2A agent of the fixtures."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2

from dev import product
from tests.e2e.cluster import RUNS, Json
from tests.e2e.platform import Platform

PROFILE = "remote-a2a"


def profile(name: str = PROFILE, **spec: Any) -> Json:
    """A profile of remote agents: there is no image to run."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": name, "namespace": RUNS},
        "spec": {"backend": "remote_a2a", "image": "none", **spec},
    }


def at(agent: str, **more: Any) -> Json:
    """What a run says of its agent."""
    return {"agent_url": f"{product.REMOTE}/{agent}", **more}


async def spawn(platform: Platform, config: Json, *steps: list[Any], **more: Any) -> str:
    """Spawn a run of an agent elsewhere and return its id."""
    more = {"role": "worker", "prompt": f"do {json.dumps(steps)}", **more}
    spawned = await platform.door.call(
        "spawn_run", backend="remote_a2a", backend_config=config, **more
    )
    return str(spawned["run_id"])


@dataclass
class Together:
    """Runs that are spawned at once when the first of them is asked for: most of it is waiting."""

    wanted: dict[str, tuple[Json, list[list[Any]]]]
    """What each run says of its agent, and the steps of its task."""
    more: Json = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    async def run(self, platform: Platform, key: str) -> str:
        """Return the id of one of them."""
        if not self.runs:
            ids = await asyncio.gather(
                *(spawn(platform, config, *steps, **self.more)
                  for config, steps in self.wanted.values())
            )  # fmt: skip
            self.runs = dict(zip(self.wanted, ids, strict=True))
        return self.runs[key]


def a_run(name: str, config: Json | None, *steps: list[Any], **more: Any) -> Json:
    """An AgentRun as kubectl makes it."""
    spec = {"backend": "remote_a2a", "prompt": json.dumps(steps), "profile": PROFILE, **more}
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": RUNS},
        "spec": {**spec, **({"backendConfig": config} if config else {})},
    }


async def seen(url: str, agent: str) -> Json:
    """Ask an agent what it was told, by conversation, and which tasks it was to cancel."""
    async with httpx2.AsyncClient(timeout=10) as http:
        found: Json = (await http.get(f"{url}/{agent}/seen")).json()
    return found
