"""Helpers for the status of a pod."""

from tests.e2e.cluster import Json


def is_ready(pod: Json | None) -> bool:
    """Return whether a pod exists and is ready."""
    conditions = (pod or {}).get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def restarts_of(pod: Json) -> int:
    """Return the restart count of a pod's only container."""
    (container,) = pod["status"]["containerStatuses"]
    return int(container["restartCount"])
