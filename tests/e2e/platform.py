"""The installed product, as the tests use it."""

from dataclasses import dataclass
from typing import Any

from dev import product
from dev.front_door import FrontDoor
from tests.e2e import cluster
from tests.e2e.agents import trivial

SETTINGS = (
    # More than the 10 to 15 s after which the kubelet tries again what failed once: on a busy
    # machine it does not always get a new Secret in time, and pulls without.
    "--set", "operator.stuckTimeoutSeconds=30",
    "--set", "operator.unschedulableTimeoutSeconds=30",
    "--set", "operator.resyncSeconds=10",
)  # fmt: skip
"""How the release of the tests is installed: impatient, but not beyond what a busy machine does."""


@dataclass
class Platform:
    """One installation on the tests' cluster."""

    cluster: str
    door: FrontDoor
    base_url: str
    git_url: str
    """The git server, as this machine reaches it."""
    model_key: str = product.MODEL_KEY
    repository: str = f"{product.GIT}/demo.git"
    silent_repository: str = "http://silent.agentrun-dev.svc:8080/x.git"

    @property
    def repository_from_here(self) -> str:
        """The repository, as this machine clones it."""
        return f"{self.git_url}/demo.git"

    async def apply(self, *objects: dict[str, Any]) -> None:
        """Create objects in the runs' namespace."""
        await cluster.apply(*objects)

    async def trivial(
        self,
        *steps: list[Any],
        agent: str | None = None,
        profile: str = "trivial",
        **more: Any,
    ) -> str:
        """Spawn a run of the trivial agent and return its id."""
        if agent:
            more["nickname"] = agent
        spawned = await self.door.call(
            "spawn_run",
            backend="acp",
            role="worker",
            profile=profile,
            prompt=trivial(*steps),
            **more,
        )
        run_id: str = spawned["run_id"]
        return run_id

    async def phase(self, run_id: str) -> str:
        """Return a run's phase."""
        return await cluster.phase_of(run_id)

    async def reason(self, run_id: str) -> str:
        """Return a run's reason."""
        run = await cluster.get("run", run_id)
        return str((run or {}).get("status", {}).get("reason", ""))

    async def gone(self, kind: str, name: str) -> None:
        """Wait until an object is gone."""
        await cluster.eventually(lambda: cluster.get(kind, name), lambda found: found is None)

    async def ready(self) -> None:
        """Wait until the front door is ready again."""
        await cluster.answers(self.base_url, 90)
