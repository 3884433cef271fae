"""
Services around a team's cluster, for tests: servers that require authentication, and proxies.

One pod has git over http, https and ssh, two forward proxies, and an MCP server. The name
``HIDDEN`` resolves in that pod only, so a client that reaches it used one of its proxies.
"""

import json
from pathlib import Path
from typing import Any

from dev import addons, fixtures, images, pki, product
from dev.shell import run

NAME = "team"
HOST = f"{NAME}.{fixtures.NAMESPACE}.svc"
HIDDEN = "git.corp.example"
HTTP, HTTPS, SSH, MCP = 8080, 8443, 2222, 8090
PROXY, STRICT_PROXY = 3128, 3129
# tinyproxy accepts no other characters in a password; in a URL they may also be encoded.
PROXY_USER, PROXY_PASSWORD = "team", "password-of_the.proxy"
PROXY_ENCODED = "password%2Dof%5Fthe.proxy"
PROXY_URL = f"http://{PROXY_USER}:{PROXY_ENCODED}@{HOST}:{STRICT_PROXY}"
MCP_TOKEN = "token-of-the-mcp-server"
SSH_USER = "agentrun"

_PROXIES = """
for port in {open} {strict}; do
  printf 'Port %s\\nLogLevel Connect\\nMaxClients 50\\nTimeout 60\\n' $port >/tmp/$port.conf
done
echo 'BasicAuth {user} {password}' >>/tmp/{strict}.conf
tinyproxy -d -c /tmp/{strict}.conf &
exec tinyproxy -d -c /tmp/{open}.conf
"""


def make_keys(folder: Path) -> None:
    """Create a CA, the server's certificate, and the keys of the ssh server and its clients."""
    names = [f"DNS:{name}" for name in (HOST, HIDDEN)]
    pki.create(folder, names, [])
    for name in ("host", "other-host", "client", "stranger"):
        _ssh_key(folder / name)
    _ssh_key(folder / "rsa-client", kind="rsa")
    _ssh_key(folder / "locked-client", passphrase="locked")


def known_hosts(folder: Path, host: str) -> str:
    """Return the ``known_hosts`` line with the key ``host``."""
    kind, key = (folder / f"{host}.pub").read_text(encoding="ascii").split()[:2]
    return f"[{HOST}]:{SSH} {kind} {key}\n"


def objects(folder: Path) -> list[dict[str, Any]]:
    """Build all objects, with the keys in ``folder``."""
    clients = ("client", "rsa-client", "locked-client")
    keys = {
        "tls.crt": (folder / "server.crt").read_text(encoding="ascii"),
        "tls.key": (folder / "server.key").read_text(encoding="ascii"),
        "host-key": (folder / "host").read_text(encoding="ascii"),
        "authorized_keys": "".join(
            (folder / f"{name}.pub").read_text(encoding="ascii") for name in clients
        ),
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": _names(), "stringData": keys}
    ports = (HTTP, HTTPS, SSH, MCP, PROXY, STRICT_PROXY)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _names(),
        "spec": {
            "selector": {"app": NAME},
            "ports": [{"name": f"p{port}", "port": port} for port in ports],
        },
    }
    return [secret, service, _pod()]


def _names() -> dict[str, Any]:
    return {"name": NAME, "namespace": fixtures.NAMESPACE, "labels": {"app": NAME}}


def _pod() -> dict[str, Any]:
    proxies = _PROXIES.format(
        open=PROXY, strict=STRICT_PROXY, user=PROXY_USER, password=PROXY_PASSWORD
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _names(),
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "hostAliases": [{"ip": "127.0.0.1", "hostnames": [HIDDEN]}],
            "securityContext": {
                "runAsNonRoot": True,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                _container(
                    "git", HTTPS, "python3", "-m", "dev.git",
                    GIT_TLS="/keys", GIT_USER=product.GIT_USER, GIT_PASSWORD=product.GIT_PASSWORD,
                ),
                _container("ssh", SSH, "python3", "-m", "dev.git.ssh", SSH_KEYS="/keys"),
                _container("proxy", STRICT_PROXY, "sh", "-c", proxies),
                _container(
                    "mcp", MCP, "python3", "/opt/agentrun-dev/agent/mcp_server.py", str(MCP),
                    MCP_TOKEN=MCP_TOKEN, MCP_SIGN="the server",
                ),
            ],
            "volumes": [
                {"name": "keys", "secret": {"secretName": NAME}},
                {"name": "git", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }  # fmt: skip


def _container(name: str, port: int, *command: str, **env: str) -> dict[str, Any]:
    mounts = {"keys": "/keys", "git": "/srv/git", "tmp": "/tmp"}
    return {
        "name": name,
        "image": images.name_of("dev"),
        "imagePullPolicy": "Never",
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in env.items()],
        **addons.ready_once({"tcpSocket": {"port": port}}),
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": key, "mountPath": path} for key, path in mounts.items()],
    }


def _ssh_key(file: Path, kind: str = "ed25519", passphrase: str = "") -> None:
    run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", file.name, "-f", file])


def docker_config(host: str, user: str, password: str) -> str:
    """Build the content of a Secret of type kubernetes.io/dockerconfigjson."""
    return json.dumps({"auths": {host: {"username": user, "password": password}}})
