"""The watches of this process: runs are recorded in the store, other kinds are cached."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from agentrun.api.quarantine import Quarantine
from agentrun.api.v1alpha1 import AgentProfile, AgentSession
from agentrun.kube.api import KubeApi
from agentrun.kube.resources import PROFILES, SESSIONS
from agentrun.store.base import RunStore
from mcp_server.agent_views import place_of_session
from mcp_server.list_watch import BACKOFF
from mcp_server.object_cache import ObjectCache
from mcp_server.run_sync import RunSync


class Watched:
    """Watches the runs, sessions and profiles of some namespaces."""

    def __init__(
        self,
        kube: KubeApi,
        store: RunStore,
        namespaces: Sequence[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        backoff: Sequence[float] = BACKOFF,
    ) -> None:
        quarantine = Quarantine()
        self.run_sync = RunSync(
            kube, store, namespaces, now=now, backoff=backoff, quarantine=quarantine
        )
        self.sessions = ObjectCache(
            kube,
            SESSIONS,
            AgentSession,
            namespaces,
            quarantine,
            backoff=backoff,
            place_of=place_of_session,
        )
        self.profiles = ObjectCache(
            kube, PROFILES, AgentProfile, namespaces, quarantine, backoff=backoff
        )

    @property
    def is_ready(self) -> bool:
        """Whether all kinds have been listed in all namespaces that are not closed."""
        return self.run_sync.is_ready and self.sessions.is_ready and self.profiles.is_ready

    async def run(self) -> None:
        """Run all watches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for followed in (self.run_sync, self.sessions, self.profiles):
                tasks.create_task(followed.run())
