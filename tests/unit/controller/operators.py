"""The operator over an in-memory API server, and changes that other clients make to it."""

from datetime import datetime
from typing import Any

from agentrun.api.v1alpha1 import AgentRun
from agentrun.controller.apply import Applier
from agentrun.controller.caches import Caches
from agentrun.controller.observe import Observer
from agentrun.controller.queue import RequeueError, WorkQueue
from agentrun.controller.reconcile import Reconciler
from agentrun.controller.settings import PodDefaults
from agentrun.controller.sync import Sync
from agentrun.controller.watches import affected_runs
from agentrun.kube.api import Object
from agentrun.kube.objects import Key
from agentrun.kube.resources import PODS, RUNS, Resource
from tests.unit.controller.fake_api import FakeApi
from tests.unit.controller.samples import NOW, TIMEOUTS, stamp

KEY = ("ns", "r")


class News:
    """Collects the reasons of the Kubernetes Events that would be recorded."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def record(self, run: Object) -> None:
        self.told.append(run["status"]["reason"])


class Operator:
    """The operator without its watches: a test decides when the caches are updated."""

    def __init__(self, api: FakeApi | None = None) -> None:
        self.api = api or FakeApi()
        self.added: list[Key] = []
        self.caches = Caches(
            lambda caches, kind, obj: self.added.extend(affected_runs(caches, kind, obj))
        )
        self.queue, self.news = WorkQueue[Key](), News()
        self.now = NOW
        settings = PodDefaults("http://gateway", "runner:1")
        observer = Observer(self.api, self.caches)
        applier = Applier(self.api, self.caches, settings, TIMEOUTS, self.news)
        self.reconciler = Reconciler(observer, applier, self.queue, TIMEOUTS, self.clock)
        self.sync = Sync(self.api, self.caches, ("ns",), self.added.append, lambda: 0.0)

    def clock(self) -> datetime:
        return self.now

    async def see(self) -> None:
        """Update the caches with the current objects, as the watches would."""
        await self.sync.relist()

    async def reconcile(self, key: Key = KEY, times: int = 8) -> None:
        """Update the caches and reconcile a run, ``times`` times: enough to converge."""
        for _ in range(times):
            await self.see()
            try:
                await self.reconciler.reconcile(key)
            except RequeueError:
                continue

    def run(self, name: str = "r") -> AgentRun:
        return AgentRun.model_validate(self.api.stored(RUNS, name))

    def close(self) -> None:
        self.queue.close()


def a_profile_object() -> Object:
    return {"metadata": {"name": "codex"}, "spec": {"backend": "codex", "image": "codex:1"}}


def a_run_object(name: str = "r", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "generation": 1},
        "spec": {"backend": "codex", "prompt": "Fix it.", **spec},
    }


def change(api: FakeApi, kind: Resource, name: str, **fields: Any) -> None:
    """Change an object, as another client does."""
    api.put(kind, {**(api.stored(kind, name) or {}), **fields})


def agent_says(api: FakeApi, name: str = "r", **agent: Any) -> None:
    run = api.stored(RUNS, name) or {}
    change(api, RUNS, name, status={**run["status"], "agent": agent})


def pod_is(api: FakeApi, name: str = "r-1", phase: str = "Running", **state: Any) -> None:
    statuses = [{"name": one, "state": state} for one in ("agent", "runner")]
    status = {"phase": phase, "containerStatuses": statuses}
    pod = api.stored(PODS, name) or {}
    change(api, PODS, name, status=status, spec={**pod["spec"], "nodeName": "n"})


def finished(api: FakeApi) -> None:
    pod_is(api, phase="Succeeded", terminated={"exitCode": 0, "finishedAt": stamp(NOW)})


def cancel(api: FakeApi, name: str = "r") -> None:
    run = api.stored(RUNS, name) or {}
    change(api, RUNS, name, spec={**run["spec"], "desiredState": "Cancelled"})


async def started(operator: Operator) -> None:
    operator.api.put(RUNS, a_run_object())
    await operator.reconcile()
    pod_is(operator.api, running={"startedAt": stamp(NOW)})
    agent_says(operator.api, state="Working", promptSent=True)
    await operator.reconcile()
