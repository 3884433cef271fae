"""
Volumes for claims to bind, made ahead because nothing here provisions any.

A local volume whose claim was deleted stays Released for good, so somebody has to empty it and
offer it again.
"""

import json
import shutil

from dev import addons, cluster
from dev.components import Cluster


def recycle(c: Cluster) -> int:
    """Offer again every volume that no claim holds; answer how many there were."""
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
