"""Compare failing runs with the rows of the catalogue of failures."""

import json
from typing import Any

from agentrun.api.v1alpha1 import Phase
from agentrun.kube.errors import ApiError
from dev.failures import find
from dev.failures.row import Failure
from tests.e2e.checks import check_journal
from tests.e2e.cluster import Json, api, eventually, items, until_processes
from tests.e2e.installation import Installation, profile
from tests.failures import check_end

ENDS = tuple(phase for phase in Phase if phase.is_terminal)
PAUSE = "localhost/agentrun/pause:dev"
"""An image that contains one program and nothing else."""
# The Accept header of `kubectl get`: the API server makes the columns that it prints.
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
# Far longer than any timeout of the release that is used for failures.
_END_SECONDS = 300

# Making runs go wrong


def doing(*steps: list[Any], **more: Any) -> dict[str, Any]:
    """Build the arguments of a run of the trivial agent for ``Installation.spawn_all``."""
    return {"profile": "trivial", "steps": steps, **more}


def python(*lines: str) -> dict[str, Any]:
    """Build a profile's command that runs a Python program."""
    return {"command": ["python3", "-c", "\n".join(("import os, sys, time", *lines))]}


def offered(namespace: str, profiles: dict[str, dict[str, Any]]) -> list[Json]:
    """Build the trivial agent's profile and others, all with a short termination grace period."""
    brief = {"terminationGracePeriodSeconds": 5}
    wanted: dict[str, dict[str, Any]] = {"trivial": {}, **profiles}
    return [
        profile(name, namespace, **spec | {"timeouts": brief | spec.get("timeouts", {})})
        for name, spec in wanted.items()
    ]


def bare_pod(name: str, namespace: str, memory: str = "1Mi", **spec: Any) -> Json:
    """Build a pod without an owner that the admission policies of a runs namespace accept."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "c",
                    "image": PAUSE,
                    "resources": {"requests": {"memory": memory}, "limits": {"memory": memory}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        }
        | spec,
    }


def bound_claim(name: str, namespace: str, **source: Any) -> tuple[Json, Json]:
    """Build a volume, and the one claim that it is bound to."""
    claim = a_claim(name, namespace, storageClassName="agentrun-test", volumeName=name)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Mi"},
            "storageClassName": "agentrun-test",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"name": name, "namespace": namespace},
            **source,
        },
    }
    return claim, volume


def a_claim(name: str, namespace: str, **spec: Any) -> Json:
    """Build a claim of a small volume."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
            **spec,
        },
    }


async def refusal(obj: Json) -> str:
    """Return the API server's error for creating an object; empty if it would accept it."""
    try:
        await api().create(obj, dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


async def refused(obj: Json, why: str) -> None:
    """Wait until the API server refuses an object; new policies take a moment to apply."""
    await eventually(lambda: refusal(obj), lambda said: why in said)


# What the catalogue promises


async def check_failure(installation: Installation, run_id: str, key: str) -> Json:
    """
    Wait for a run's end and compare all that its users see with the row of ``key``.

    Returns the answer of get_run.
    """
    row, namespace = find(key), installation.namespace
    await installation.reaches(run_id, *ENDS, seconds=_END_SECONDS)
    run, events = await installation.client.finish(run_id)
    status = await installation.status(run_id)
    _compare(row, status, run)
    check_journal(events, row.phase.status)
    columns = await _columns(run_id, namespace)
    assert {row.phase, row.reason} <= set(columns), columns
    await _is_told(row, run_id, namespace)
    if uid := status.get("podUID"):
        # The kubelet removes the pod's empty sandbox a moment after its containers ended.
        await until_processes(uid, lambda left: all("/pause" in one for one in left))
    return run


async def _columns(run_id: str, namespace: str) -> list[Any]:
    """Return the columns that ``kubectl get run`` prints."""
    path = (await api().resource("run")).path(namespace, run_id)
    table = await api().client.request("GET", path, accept=_TABLE)
    cells = zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
    # The others are for `kubectl get -o wide`.
    return [cell for column, cell in cells if not column.get("priority")]


async def _is_told(row: Failure, run_id: str, namespace: str) -> None:
    """
    Find the Kubernetes Event that reports the end.

    It is posted with the end and nearly always exists by now, so a watch is not worth its cost.
    """
    fields = f"involvedObject.name={run_id},reason={row.reason}"
    start = f"{row.phase}: "
    await eventually(
        lambda: items("events", fields=fields, namespace=namespace),
        lambda found: any(one["message"].startswith(start) for one in found),
    )


def _compare(row: Failure, status: Json, run: Json) -> None:
    seen = json.dumps({"status": status, "get_run": run}, indent=1)
    message = status.get("message", "")
    check_end(row, status["phase"], status["reason"], message, seen)
    assert (run["status"], run["reason"]) == (row.phase.status, row.reason), seen
    assert run["message"] == message, seen
    if row.phase.status == "failed":
        assert run["error"] == message, seen
        assert run["summary"] == f"Run failed: {message}", seen
