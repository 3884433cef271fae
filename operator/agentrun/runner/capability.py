"""
The pod's secret with which the paths on its loopback interface begin.

A user who may forward a port of the pod reaches the listening ports as the agent does. So the paths
begin with a secret that only the agent receives, in the folder that the two containers share: it is
not in the environment in the pod's spec, and differs for each pod.
"""

import secrets
from dataclasses import replace

from agentrun.runner.folders import Folder
from agentrun.runner.layout import Layout

_BYTES = 32


def with_capability(layout: Layout) -> Layout:
    """Create the secret and write it to the agent's file. Call it before the agent may start."""
    capability = secrets.token_hex(_BYTES)
    file = layout.capability_file
    with Folder.at(file.parent) as folder:
        folder.replace(file.name, f"{capability}\n".encode())
    return replace(layout, capability=capability)
