"""
Volumes and mounts for the Secrets, ConfigMaps and PersistentVolumeClaims that a profile names.

Each key of a Secret is mounted under the path that the runner expects. Only the runner has these
mounts, except for the CA bundle, which is not secret, and the caches, which belong to the agent.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from agentrun.api import pod_layout as layout
from agentrun.api.names import is_backend_secret
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRun, ConfigMapKey, SecretKey
from agentrun.backends import backend_of

# Readable by the pod's group, which both containers run with.
SECRET_MODE = 0o440
_ROOTS_SIZE = "8Mi"

Manifest = dict[str, Any]
Key = SecretKey | ConfigMapKey


def reference_volumes(profile: AgentProfileSpec) -> list[Manifest]:
    """Return the volumes with the Secrets and ConfigMaps of the runner, and the CA bundle."""
    return [
        *_credential_volumes(profile),
        *_projected("redact", [_item(key, path) for path, key in _redacted(profile).items()]),
        *_projected("mcp", [_item(key, _path(key)) for key in _unique(_mcp_secrets(profile))]),
        *_projected("instructions", [_item(key, _path(key)) for key in _unique(_texts(profile))]),
        *_trust_volumes(profile),
    ]


def backend_volumes(run: AgentRun) -> list[Manifest]:
    """Return the volume with the credentials of the run's remote agent, if it has any."""
    name = (run.spec.backend_config or {}).get("credentials_secret")
    if not backend_of(run.spec.backend).is_remote or not is_backend_secret(name):
        return []
    return [{"name": "backend", "secret": {"secretName": name, "defaultMode": SECRET_MODE}}]


def runner_mounts(profile: AgentProfileSpec) -> list[Manifest]:
    """Return the runner's mounts of ``reference_volumes``."""
    folders = {
        "provider": str(PurePosixPath(layout.PROVIDER_KEY_FILE).parent),
        "git": layout.GIT_CREDENTIALS,
        "redact": layout.REDACT,
        "mcp": layout.MCP_SECRETS,
        "instructions": layout.INSTRUCTIONS,
        "ca": str(PurePosixPath(layout.CA_FILE).parent),
    }
    present = {volume["name"] for volume in reference_volumes(profile)}
    return [read_only(name, path) for name, path in folders.items() if name in present]


def agent_mounts(profile: AgentProfileSpec) -> list[Manifest]:
    """Return the agent's mounts of the CA bundle and the caches."""
    mounts = []
    if profile.network.ca_bundle:
        mounts.append(read_only("ca", str(PurePosixPath(layout.CA_FILE).parent)))
        mounts.append(mount("agent-roots", str(PurePosixPath(layout.AGENT_ROOTS).parent)))
    names = {claim: f"cache-{number}" for number, claim in enumerate(_claims(profile))}
    for cache in profile.caches:
        made = mount(names[cache.claim], cache.mount_path)
        if cache.sub_path:
            made["subPath"] = cache.sub_path
        if cache.read_only:
            made["readOnly"] = True
        mounts.append(made)
    return mounts


def agent_volumes(profile: AgentProfileSpec) -> list[Manifest]:
    """Return the volumes that only the agent container needs."""
    caches = [
        {"name": f"cache-{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(_claims(profile))
    ]
    if not profile.network.ca_bundle:
        return caches
    return [{"name": "agent-roots", "emptyDir": {"sizeLimit": _ROOTS_SIZE}}, *caches]


def mount(name: str, path: str) -> Manifest:
    """Build a volume mount."""
    return {"name": name, "mountPath": path}


def read_only(name: str, path: str) -> Manifest:
    """Build a read-only volume mount."""
    return {**mount(name, path), "readOnly": True}


def _credential_volumes(profile: AgentProfileSpec) -> list[Manifest]:
    volumes: list[Manifest] = []
    key = profile.provider.key_secret
    if key:
        items = [{"key": key.key, "path": PurePosixPath(layout.PROVIDER_KEY_FILE).name}]
        secret = {"secretName": key.name, "items": items, "defaultMode": SECRET_MODE}
        volumes.append({"name": "provider", "secret": secret})
    if profile.git.credentials_secret:
        secret = {"secretName": profile.git.credentials_secret, "defaultMode": SECRET_MODE}
        volumes.append({"name": "git", "secret": secret})
    return volumes


def _trust_volumes(profile: AgentProfileSpec) -> list[Manifest]:
    bundle = profile.network.ca_bundle
    if bundle is None:
        return []
    items = [{"key": bundle.key, "path": PurePosixPath(layout.CA_FILE).name}]
    return [{"name": "ca", "configMap": {"name": bundle.name, "items": items}}]


def _redacted(profile: AgentProfileSpec) -> dict[str, SecretKey]:
    """Return the Secret keys in the agent's environment, by the name of their file."""
    found = {variable.name: variable.secret for variable in profile.env if variable.secret}
    if profile.network.proxy and profile.network.proxy.url_secret:
        found[PurePosixPath(layout.PROXY_URL_FILE).name] = profile.network.proxy.url_secret
    return found


def _mcp_secrets(profile: AgentProfileSpec) -> Iterable[SecretKey]:
    for server in profile.mcp_servers:
        yield from (one.secret for one in server.env if one.secret)
        yield from (one.secret for one in server.headers if one.secret)


def _texts(profile: AgentProfileSpec) -> Iterable[ConfigMapKey]:
    return (file.config_map for file in profile.instruction_files if file.config_map)


def _claims(profile: AgentProfileSpec) -> list[str]:
    return list(dict.fromkeys(cache.claim for cache in profile.caches))


def _unique(keys: Iterable[Key]) -> list[Key]:
    return list({(key.name, key.key): key for key in keys}.values())


def _path(key: Key) -> str:
    """Return a path that depends on the key only, not on its position in the profile's lists."""
    return f"{key.name}/{key.key}"


def _item(key: Key, path: str) -> Manifest:
    kind = "secret" if isinstance(key, SecretKey) else "configMap"
    return {kind: {"name": key.name, "items": [{"key": key.key, "path": path}]}}


def _projected(name: str, sources: list[Manifest]) -> list[Manifest]:
    if not sources:
        return []
    return [{"name": name, "projected": {"defaultMode": SECRET_MODE, "sources": sources}}]
