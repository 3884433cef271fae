"""
Volumes for claims, created in advance because the cluster has no provisioner.

A local volume whose claim was deleted stays Released permanently, so its folder must be emptied and
the volume created again.
"""

import json
import shutil

from dev import addons, cluster
from dev.components import Cluster


def recycle(c: Cluster) -> int:
    """Recreate every volume that no claim holds. Return how many there were."""
    found = json.loads(cluster.kubectl(c.name, "get", "persistentvolumes", "-o", "json"))["items"]
    phases = {item["metadata"]["name"]: item["status"].get("phase") for item in found}
    numbers = [
        number
        for number in range(1, addons.VOLUMES + 1)
        if phases.get(addons.volume_name(number)) in {None, "Released", "Failed"}
    ]
    released = [addons.volume_name(n) for n in numbers if addons.volume_name(n) in phases]
    if released:
        cluster.kubectl(c.name, "delete", "persistentvolume", *released)
    for number in numbers:
        folder = c.volume(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    if numbers:
        objects = [addons.volume(c, number) for number in numbers]
        cluster.kubectl(c.name, "apply", "-f", "-", stdin=addons.manifest(objects))
    return len(numbers)
