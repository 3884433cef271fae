"""
The pod's secret that the paths on its loopback begin with.

Who may forward a port of the pod reaches what listens there as the agent does. So the paths begin
with what only the agent is told, through the folder that the two containers share: it is in no
environment that stands in the pod's spec, and no two pods have the same.
"""

import secrets
from dataclasses import replace

from agentrun.runner.folders import Folder
from agentrun.runner.layout import Layout

_BYTES = 32


def with_capability(layout: Layout) -> Layout:
    """Make the secret and leave it for the agent. Before the agent may begin."""
    capability = secrets.token_hex(_BYTES)
    file = layout.capability_file
    with Folder.at(file.parent) as folder:
        folder.replace(file.name, f"{capability}\n".encode())
    return replace(layout, capability=capability)
