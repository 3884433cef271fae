"""Loading the user's kubeconfig, with clear messages about what is wrong with it."""

import os
from pathlib import Path

from agentrun.cli.problems import CliError
from agentrun.kube import kubeconfig as kube_config
from agentrun.kube.kubeconfig import KubeconfigError, Login, contexts_in

_WITHOUT = "or reach AgentRun without one by --url and --token"


async def log_in(kubeconfig: str, context: str) -> Login:
    """Load the kubeconfig and run its credential plugin if it has one. Raises CliError."""
    files = _files(kubeconfig)
    try:
        return await kube_config.log_in(files, context)
    except KubeconfigError as error:
        raise CliError(_explain(error, files, context)) from error


def place_of(login: Login, context: str) -> str:
    """Return the name of the API server in messages."""
    name = f"context {context}" if context else "the current context"
    return f"{login.host} ({name})"


def _files(kubeconfig: str) -> list[Path]:
    named = kubeconfig or str(Path.home() / ".kube" / "config")
    paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    found = [path for path in paths if path.is_file()]
    if not found:
        places = ", ".join(map(str, paths))
        raise CliError(
            f"there is no kubeconfig at {places}: give --kubeconfig or set KUBECONFIG, {_WITHOUT}"
        )
    return found


def _explain(error: KubeconfigError, files: list[Path], context: str) -> str:
    places = ", ".join(map(str, files))
    known = sorted({name for file in files for name in contexts_in(file)})
    if context and known and context not in known:
        return f"context {context} is not in {places}: give --context one of {', '.join(known)}"
    if not context and known and "current-context" in str(error):
        return f"{places} names no current context: give --context one of {', '.join(known)}"
    return f"the kubeconfig {places} cannot be used: {error}; correct it, {_WITHOUT}"
