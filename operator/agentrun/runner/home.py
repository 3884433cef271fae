"""
The files that the runner writes to the agent's home before the agent starts.

Imports only small modules, because this happens before anything else is loaded.
"""

import json

from agentrun.backends import backend_of
from agentrun.backends.backend import HomeContext
from agentrun.runner.folders import Folder
from agentrun.runner.layout import Layout

ASK = "Ask"
"""The profile's permissionMode in which a person is asked."""

# git refuses a work tree whose folder belongs to another user, and the mount point of an emptyDir
# belongs to root.
_GITCONFIG = "[safe]\n\tdirectory = *\n"


def write_home(
    layout: Layout, backend: str, model: str | None, permission_mode: str | None = None
) -> None:
    """Write the files that the agent of ``backend`` reads from its home."""
    context = HomeContext(
        provider_url=layout.provider_url,
        tools_url=f"http://127.0.0.1:{layout.tools_port}{layout.tools_path}",
        workspace=str(layout.workspace),
        model=model,
        asks=permission_mode == ASK,
    )
    files = {".gitconfig": _GITCONFIG, **backend_of(backend).home_files(context)}
    with Folder.at(layout.home, make=True) as home:
        for name, text in files.items():
            home.replace(name, text.encode())


def write_identity(layout: Layout, name: str, email: str) -> None:
    """Write a git identity, so that the agent can commit without configuring git."""
    identity = f"[user]\n\tname = {json.dumps(name)}\n\temail = {json.dumps(email)}\n"
    with Folder.at(layout.home, make=True) as home:
        home.replace(".gitconfig", (_GITCONFIG + identity).encode())
