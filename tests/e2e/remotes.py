"""Runs whose agent is elsewhere: the A2A agent of the fixtures."""

import json
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
