"""The two containers of a run's pod, under the `restricted` Pod Security Standard."""

import posixpath
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from agentrun.api import pod_layout as layout
from agentrun.api.quantities import parse, total
from agentrun.api.resolve import RunTimeouts, workspace_of
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRun, Resources, SecretKey
from agentrun.backends import backend_of
from agentrun.controller.pod.references import (
    agent_mounts,
    backend_volumes,
    mount,
    read_only,
    runner_mounts,
)
from agentrun.controller.settings import PodDefaults

PIPES_SIZE = "2Mi"
CALLS_SIZE = "8Mi"
HOME_SIZE = "4Gi"
TMP_SIZE = "2Gi"
SPOOL_SIZE = "1536Mi"
"""For events, large messages and the patch; a snapshot takes more."""

# A pod is evicted when its disk usage, volumes included, exceeds the sum of its containers' limits.
# So the limits include the volumes; the requests, which otherwise equal the limits, are small.
_DISK_REQUEST = "64Mi"
_LAYER_SIZE = "1Gi"
# The runner uses less than 64Mi, whatever the agent sends; git, which unpacks and packs what the
# runner clones and collects, caches up to 96Mi in addition.
_RUNNER_REQUESTS = {"cpu": "50m", "memory": "96Mi", "ephemeral-storage": _DISK_REQUEST}
_RUNNER_MEMORY = "192Mi"
_AGENT_REQUESTS = {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": _DISK_REQUEST}
_AGENT_MEMORY = "4Gi"

# Hosts that every pod reaches without a proxy. Some programs require the dot; some, no brackets.
_DIRECT = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")

# Each names one file with all CAs: OpenSSL and Go; requests; curl; git; pip; cargo; AWS tools.
_ROOTS = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT",
    "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE",
)  # fmt: skip


def agent_container(
    run: AgentRun, profile: AgentProfileSpec, settings: PodDefaults
) -> dict[str, Any]:
    """Build the container of the agent, which waits for the runner's pipes."""
    command = profile.command or backend_of(run.spec.backend).agent_command(asks(profile))
    env = _agent_env(run, profile, settings)
    script = layout.agent_bootstrap(_provider_url_variables(env))
    if profile.network.ca_bundle:
        script = layout.AGENT_ROOTS_BOOTSTRAP + script
    return {
        "name": layout.AGENT,
        "image": profile.image,
        "imagePullPolicy": profile.image_pull_policy,
        "command": ["/bin/sh", "-c", script, "agent", *command],
        "workingDir": layout.WORKSPACE,
        "env": env,
        "resources": _agent_resources(run, profile),
        "securityContext": _security_context(profile.pod.read_only_root_filesystem),
        "volumeMounts": [
            read_only("pipes", layout.PIPES),
            *_shared_mounts(),
            mount("agent-tmp", "/tmp"),
            *agent_mounts(profile),
        ],
    }


def runner_container(
    run: AgentRun,
    profile: AgentProfileSpec,
    settings: PodDefaults,
    allowed: RunTimeouts,
    patience: int,
) -> dict[str, Any]:
    """
    Build the container of the runner, the only one with credentials.

    ``patience`` is how many seconds the runner retries an unavailable gateway.
    """
    return {
        "name": layout.RUNNER,
        "image": settings.runner_image,
        "imagePullPolicy": settings.runner_image_pull_policy,
        "env": _runner_env(run, profile, settings, allowed, patience),
        "resources": _runner_resources(run, profile, settings.runner_resources),
        "securityContext": _security_context(read_only=True),
        "volumeMounts": [
            mount("pipes", layout.PIPES),
            *_shared_mounts(),
            mount("runner-tmp", "/tmp"),
            mount("spool", layout.SPOOL),
            *([mount("repository", layout.REPOSITORY)] if clones(run, profile) else []),
            read_only("token", str(PurePosixPath(layout.TOKEN_FILE).parent)),
            *runner_mounts(profile),
            *[read_only(one["name"], layout.BACKEND_SECRET) for one in backend_volumes(run)],
        ],
    }


def model_of(run: AgentRun, profile: AgentProfileSpec) -> str | None:
    """Return the run's model, else its profile's; None if the agent chooses."""
    return run.spec.model or profile.models.default


def asks(profile: AgentProfileSpec) -> bool:
    """Whether the agent asks a person for permission."""
    return profile.permission_mode == "Ask"


def clones(run: AgentRun, profile: AgentProfileSpec) -> bool:
    """Whether the workspace is a git clone, for which the runner has a private repository."""
    return workspace_of(run.spec, profile).git is not None


def _shared_mounts() -> list[dict[str, Any]]:
    return [
        mount("calls", layout.CALLS),
        mount("workspace", layout.WORKSPACE),
        mount("home", layout.HOME),
    ]


def _agent_env(
    run: AgentRun, profile: AgentProfileSpec, settings: PodDefaults
) -> list[dict[str, Any]]:
    """Build the agent's environment; the profile takes precedence over the backend's defaults."""
    identity = _identity(run, profile)
    is_held = bool(profile.models.allowed)
    backend = backend_of(run.spec.backend)
    defaults = backend.agent_env(model_of(run, profile), asks(profile), is_held)
    plain = {"HOME": layout.HOME, "TMPDIR": "/tmp", **identity, **defaults}
    own = [
        _from_secret(one.name, one.secret) if one.secret else _variable(one.name, one.value or "")
        for one in profile.env
    ]
    network = _agent_network(profile, settings.gateway_url)
    made = [*(_variable(name, value) for name, value in plain.items()), *network, *own]
    return list({one["name"]: one for one in made}.values())


def _provider_url_variables(env: list[dict[str, Any]]) -> list[str]:
    """Return the variables whose value contains the proxy's URL, or may as it is in a Secret."""
    return [one["name"] for one in env if layout.PROXY_URL in one.get("value", layout.PROXY_URL)]


def _identity(run: AgentRun, profile: AgentProfileSpec) -> dict[str, str]:
    """Return the variables that identify the agent, as programs outside AgentRun set them too."""
    cwd = workspace_of(run.spec, profile).cwd
    return {
        layout.ENV_PEER_NAME: run.session_name,
        layout.ENV_PEER_SESSION: run.session_name,
        layout.ENV_PEER_CWD: posixpath.normpath(posixpath.join(layout.WORKSPACE, cwd or "")),
    }


def _runner_env(
    run: AgentRun,
    profile: AgentProfileSpec,
    settings: PodDefaults,
    allowed: RunTimeouts,
    patience: int,
) -> list[dict[str, Any]]:
    values = {
        # Not the agent's HOME: files that the agent writes there must not configure the runner.
        "HOME": layout.SPOOL,
        "TMPDIR": "/tmp",
        layout.ENV_GATEWAY: settings.gateway_url,
        layout.ENV_RUN: run.metadata.name,
        layout.ENV_ATTEMPT: str(run.attempts),
        layout.ENV_BACKEND: run.spec.backend,
        layout.ENV_MODEL: model_of(run, profile),
        layout.ENV_PROVIDER: profile.provider.base_url or backend_of(run.spec.backend).provider_url,
        layout.ENV_GRACE: str(allowed.grace),
        layout.ENV_IDLE: str(allowed.idle),
        layout.ENV_PATIENCE: str(patience),
        layout.ENV_PERMISSION_MODE: "Ask" if asks(profile) else None,
    }
    plain = [_variable(name, value) for name, value in values.items() if value]
    return [*plain, *_runner_network(profile, settings.gateway_url)]


def _agent_network(profile: AgentProfileSpec, gateway_url: str) -> list[dict[str, Any]]:
    """Return the network variables of the agent's environment."""
    trust: list[dict[str, Any]] = []
    if profile.network.ca_bundle:
        trust = [_variable(name, layout.AGENT_ROOTS) for name in _ROOTS]
        # Node.js has built-in CAs and adds those in this file.
        trust.append(_variable("NODE_EXTRA_CA_CERTS", layout.CA_FILE))
    return [*trust, *_proxy(profile, gateway_url)]


def _runner_network(profile: AgentProfileSpec, gateway_url: str) -> list[dict[str, Any]]:
    """Return the network variables of the runner's environment, which git inherits."""
    trust = [
        _variable(name, layout.RUNNER_ROOTS)
        for name in ("SSL_CERT_FILE", "GIT_SSL_CAINFO")
        if profile.network.ca_bundle
    ]
    return [*trust, *_proxy(profile, gateway_url)]


def _proxy(profile: AgentProfileSpec, gateway_url: str) -> list[dict[str, Any]]:
    """Set the proxy variables in upper and lower case: for http, curl reads only lower case."""
    proxy = profile.network.proxy
    if proxy is None:
        return []
    gateway = urlsplit(gateway_url).hostname
    direct = ",".join(filter(None, (*_DIRECT, gateway, *proxy.no_proxy)))
    variables = [_variable(name, direct) for name in ("NO_PROXY", "no_proxy")]
    for name, url in (("HTTP_PROXY", proxy.http), ("HTTPS_PROXY", proxy.https)):
        for spelling in (name, name.lower()):
            if proxy.url_secret:
                variables.append(_from_secret(spelling, proxy.url_secret))
            elif url:
                variables.append(_variable(spelling, url))
    return variables


def _variable(name: str, value: str) -> dict[str, Any]:
    """Build an environment variable of a container."""
    return {"name": name, "value": value}


def _from_secret(name: str, key: SecretKey) -> dict[str, Any]:
    """Build an environment variable with its value from a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}


def _agent_resources(run: AgentRun, profile: AgentProfileSpec) -> dict[str, Any]:
    """Return the profile's resources, with default requests and limits where it has none."""
    requests, limits = profile.resources.requests, profile.resources.limits
    workspace = "0" if workspace_of(run.spec, profile).volume else profile.pod.workspace_size
    disk = total(workspace, HOME_SIZE, TMP_SIZE, _LAYER_SIZE)
    bounds = {"memory": _AGENT_MEMORY, "ephemeral-storage": disk}
    # A default must not contradict a limit or a request that the profile does set.
    return {
        "requests": {k: v for k, v in _AGENT_REQUESTS.items() if k not in limits} | requests,
        "limits": {k: v for k, v in bounds.items() if k not in requests} | limits,
    }


def spool_size(profile: AgentProfileSpec) -> str:
    """Return the size of the runner's volume, in which it also packs and unpacks snapshots."""
    return total(SPOOL_SIZE, profile.sessions.max_snapshot_size)


def _runner_resources(run: AgentRun, profile: AgentProfileSpec, given: Resources) -> dict[str, Any]:
    """Return the given resources and the defaults, as far as these do not contradict them."""
    repository = profile.pod.workspace_size if clones(run, profile) else "0"
    disk = total(spool_size(profile), TMP_SIZE, _LAYER_SIZE, repository)
    defaults = {"memory": _RUNNER_MEMORY, "ephemeral-storage": disk}
    return {
        "requests": _bounded(min, _RUNNER_REQUESTS, given.limits) | given.requests,
        "limits": _bounded(max, defaults, given.requests) | given.limits,
    }


def _bounded(
    bound: Callable[..., str], defaults: Mapping[str, str], others: Mapping[str, str]
) -> dict[str, str]:
    """Return the defaults, of which none is beyond the quantity of its name in ``others``."""
    return {k: bound(v, others.get(k, v), key=parse) for k, v in defaults.items()}


def _security_context(read_only: bool) -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": read_only,
    }
