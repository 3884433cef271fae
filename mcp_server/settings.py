"""The MCP server's settings, from environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agentrun.store import urls
from mcp_server.access.subjects import NOBODY, Access, parse_access

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_MOST_SECONDS = 600


class SettingsError(ValueError):
    """An environment variable is invalid."""


@dataclass(frozen=True)
class Settings:
    """The settings of the MCP server."""

    namespaces: tuple[str, ...] = ("default",)
    """The namespaces whose runs are served; the first is the default."""
    access: Access = NOBODY
    """The subjects that may call the tools."""
    store_url: str = urls.STORE_URL
    blobs_url: str = urls.BLOBS_URL
    allowed_hosts: tuple[str, ...] = ()
    """Host names that clients use besides those inside the cluster (see http/hosts.py)."""
    public_url: str = ""
    """The URL of the server for clients outside the cluster, without /mcp."""
    issuer_url: str = "https://kubernetes.default.svc.cluster.local"
    """The issuer of the tokens."""
    host: str = ""
    """The address to listen on; by default all, of IPv4 and IPv6."""
    port: int = 8080
    gateway_port: int = 8081
    drain_seconds: float = 0
    """How long to continue serving after SIGTERM, until clients use other replicas."""
    log_level: str = "INFO"


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError, which names the variable, if one is invalid."""
    default = Settings()
    public_url = _url(environment, "AGENTRUN_PUBLIC_URL", "")
    hosts = _names(environment.get("AGENTRUN_ALLOWED_HOSTS", ""))
    if public_url:
        hosts = (*hosts, urlsplit(public_url).hostname or "")
    return Settings(
        namespaces=_names(environment.get("AGENTRUN_NAMESPACES", "")) or (_own_namespace(),),
        access=_access(environment),
        store_url=environment.get("AGENTRUN_STORE_URL") or default.store_url,
        blobs_url=environment.get("AGENTRUN_BLOBS_URL") or default.blobs_url,
        allowed_hosts=hosts,
        public_url=public_url,
        issuer_url=_url(environment, "AGENTRUN_ISSUER_URL", default.issuer_url),
        host=environment.get("AGENTRUN_HOST") or default.host,
        port=_port(environment, "AGENTRUN_PORT", default.port),
        gateway_port=_port(environment, "AGENTRUN_GATEWAY_PORT", default.gateway_port),
        drain_seconds=_seconds(environment, "AGENTRUN_DRAIN_SECONDS", default.drain_seconds),
        log_level=_level(environment, default.log_level),
    )


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def _access(environment: Mapping[str, str]) -> Access:
    try:
        return parse_access(environment.get("AGENTRUN_ACCESS", ""))
    except ValueError as error:
        raise SettingsError(
            f"AGENTRUN_ACCESS must be a JSON list of subjects, each with kind (User, Group or"
            f" ServiceAccount), name and, for a ServiceAccount, namespace: {error}"
        ) from error


def _own_namespace() -> str:
    if _POD_NAMESPACE.exists():
        return _POD_NAMESPACE.read_text().strip()
    return "default"


def _url(environment: Mapping[str, str], name: str, default: str) -> str:
    value = environment.get(name, "").rstrip("/") or default
    if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
        raise SettingsError(f"{name} must be an http or https URL, not {value!r}")
    return value


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, "") or str(default)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise SettingsError(f"{name} must be a port from 1 to 65535, not {value!r}")
    return int(value)


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    value = environment.get(name, "") or str(int(default))
    if not value.isdecimal() or int(value) > _MOST_SECONDS:
        raise SettingsError(
            f"{name} must be a number of seconds from 0 to {_MOST_SECONDS}, not {value!r}"
        )
    return int(value)


def _level(environment: Mapping[str, str], default: str) -> str:
    value = environment.get("AGENTRUN_LOG_LEVEL", "").upper() or default
    if value not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(
            f"AGENTRUN_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {value!r}"
        )
    return value
