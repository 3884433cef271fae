"""Users' kubeconfig files."""

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client, config
from kubernetes.aio.config.config_exception import ConfigException


class KubeconfigError(Exception):
    """A kubeconfig cannot be used."""


@dataclass(frozen=True)
class Login:
    """The address of the API server and the user's credentials."""

    api: client.ApiClient

    @property
    def host(self) -> str:
        """The URL of the API server."""
        return str(self.api.configuration.host)

    @property
    def proxy(self) -> str | None:
        """The URL of the proxy to the API server, if there is one."""
        found: str | None = self.api.configuration.proxy
        return found

    @property
    def server_name(self) -> str | None:
        """The name in the API server's certificate, if it is not the one in the URL."""
        found: str | None = self.api.configuration.tls_server_name
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


async def log_in(files: Sequence[Path], context: str) -> Login:
    """
    Load a kubeconfig, and run its credential plugin if it has one. No request is sent.

    An empty ``context`` is the current one. Raises KubeconfigError.
    """
    configuration = client.Configuration()
    try:
        await config.load_kube_config(
            config_file=os.pathsep.join(map(str, files)),
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
        return Login(client.ApiClient(configuration))
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
        raise KubeconfigError(str(error)) from error


def contexts_in(file: Path) -> list[str]:
    """Return the names of the contexts in a file; none if it cannot be read."""
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return [str(context["name"]) for context in content.get("contexts") or []]
    except (yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError):
        return []
