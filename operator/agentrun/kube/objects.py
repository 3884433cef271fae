"""
What programs read of objects without parsing them with their models.

Each function that has a counterpart among the properties of a model returns the same.
"""

from typing import Any

from agentrun.api.pod_layout import LABEL_RUN, LABEL_RUN_UID
from agentrun.api.v1alpha1 import TERMINAL_PHASES, DesiredState, default_profile
from agentrun.kube.api import Object

Key = tuple[str, str]
"""Namespace and name."""


def key_of(obj: Object) -> Key:
    """Return an object's namespace and name."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def uid_of(obj: Object) -> str:
    """Return an object's uid."""
    return str(obj["metadata"]["uid"])


def session_of(run: Object) -> Key:
    """Return the session of a run."""
    namespace, name = key_of(run)
    session: dict[str, Any] = run["spec"].get("session") or {}
    return namespace, session.get("name") or name


def profile_of(run: Object) -> Key:
    """Return the profile of a run."""
    spec = run["spec"]
    return key_of(run)[0], spec.get("profile") or default_profile(spec["backend"])


def parent_of(run: Object) -> Key | None:
    """Return the run whose agent spawned a run; None if there is none."""
    parent = run["spec"].get("parent")
    return (key_of(run)[0], parent["name"]) if parent else None


def is_finished(run: Object) -> bool:
    """Whether a run has finished."""
    return run.get("status", {}).get("phase") in TERMINAL_PHASES


def is_cancel_requested(run: Object) -> bool:
    """Whether somebody asked for a run to be cancelled."""
    return bool(run["spec"].get("desiredState") == DesiredState.CANCELLED)


def holder_of(session: Object) -> tuple[str, str] | None:
    """Return the name and uid of the run that holds a session; None if there is none."""
    active = session.get("status", {}).get("activeRun") or {}
    return (active["name"], active["uid"]) if {"name", "uid"} <= active.keys() else None


def run_of_pod(pod: Object) -> Key | None:
    """Return the run that the label of a pod names; None if it has no such label."""
    name = pod["metadata"].get("labels", {}).get(LABEL_RUN)
    return (pod["metadata"]["namespace"], name) if name else None


def run_uid_of(pod: Object) -> str | None:
    """
    Return the uid of the run that a pod belongs to; None if it belongs to no run.

    A pod belongs to its controller. One without a controller, as after a deletion of its run with
    ``--cascade=orphan``, belongs to the run that its label names.
    """
    for owner in pod["metadata"].get("ownerReferences", []):
        if owner.get("controller"):
            return owner["uid"] if owner.get("kind") == "AgentRun" else None
    uid = pod["metadata"].get("labels", {}).get(LABEL_RUN_UID)
    return str(uid) if uid else None


def is_pod_of(pod: Object, uid: str) -> bool:
    """Whether a pod belongs to the run with ``uid``."""
    return run_uid_of(pod) == uid
