"""Loading the user's kubeconfig, with clear messages about what is wrong with it."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client, config
from kubernetes.aio.config.config_exception import ConfigException

from agentrun.cli.problems import CliError

_WITHOUT = "or reach AgentRun without one by --url and --token"


@dataclass(frozen=True)
class Login:
    """The address of the API server and the user's credentials."""

    api: client.ApiClient
    place: str
    """The name of the API server in messages."""

    @property
    def configuration(self) -> client.Configuration:
        """The client configuration that the kubeconfig defines."""
        found: client.Configuration = self.api.configuration
        return found

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS context: the cluster's CA and the user's certificate."""
        context: ssl.SSLContext = self.api.rest_client.ssl_context
        return context

    async def headers(self) -> dict[str, str]:
        """Return the headers that authenticate the user."""
        _, _, headers, *_ = await self.api.param_serialize(
            "GET", "/", auth_settings=["BearerToken"]
        )
        return dict(headers)


async def log_in(kubeconfig: str, context: str) -> Login:
    """Load the kubeconfig and run its credential plugin if it has one. Raises CliError."""
    files = _files(kubeconfig)
    configuration = client.Configuration()
    try:
        await config.load_kube_config(
            config_file=os.pathsep.join(map(str, files)),
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
        api = client.ApiClient(configuration)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
        raise CliError(_explain(error, files, context)) from error
    name = f"context {context}" if context else "the current context"
    return Login(api, f"{configuration.host} ({name})")


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


def _explain(error: Exception, files: list[Path], context: str) -> str:
    places = ", ".join(map(str, files))
    known = sorted({name for file in files for name in _contexts(file)})
    if context and known and context not in known:
        return f"context {context} is not in {places}: give --context one of {', '.join(known)}"
    if not context and known and "current-context" in str(error):
        return f"{places} names no current context: give --context one of {', '.join(known)}"
    return f"the kubeconfig {places} cannot be used: {error}; correct it, {_WITHOUT}"


def _contexts(file: Path) -> list[str]:
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return [str(context["name"]) for context in content.get("contexts") or []]
    except (yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError):
        return []
