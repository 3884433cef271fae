"""What the status of a pod says."""

from tests.e2e.cluster import Json


def is_ready(pod: Json | None) -> bool:
    """Say whether a pod is there, and takes requests."""
    conditions = (pod or {}).get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def restarts_of(pod: Json) -> int:
    """Count how often the only container of a pod was started again."""
    (container,) = pod["status"]["containerStatuses"]
    return int(container["restartCount"])
