"""A cluster's certificates, created with ``openssl`` and kept for the cluster's lifetime."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.shell import run

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365")


@dataclass(frozen=True)
class Client:
    """The identity that a client certificate authenticates."""

    name: str
    user: str
    group: str = ""


def create(folder: Path, names: list[str], clients: list[Client]) -> None:
    """Create the CA, the API server's certificate, and one for each client."""
    serving(folder, "server", "kube-apiserver", names)
    for client in clients:
        group = f"/O={client.group}" if client.group else ""
        _issue(folder, client.name, f"{group}/CN={client.user}", "extendedKeyUsage=clientAuth")
    if not (folder / "sa.key").exists():
        run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"])
        run(["openssl", "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub"])


def serving(folder: Path, name: str, subject: str, names: list[str]) -> None:
    """Create a server's certificate, and the CA, unless they exist."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not (folder / "ca.crt").exists():
        extensions = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        _request(folder, "ca", "/CN=agentrun-dev", [*extensions, "-x509"])
    _issue(folder, name, f"/CN={subject}", f"subjectAltName={','.join(names)}")


def kubeconfig(folder: Path, client: str, server: str) -> str:
    """Build a self-contained kubeconfig, as JSON, which is valid YAML."""

    def inline(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": inline("ca.crt")}
    user = {
        "client-certificate-data": inline(f"{client}.crt"),
        "client-key-data": inline(f"{client}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "agentrun", "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": "agentrun", "context": {"cluster": "agentrun", "user": client}}],
        "current-context": "agentrun",
    }
    return json.dumps(config, indent=1)


def _issue(folder: Path, name: str, subject: str, extension: str) -> None:
    if (folder / f"{name}.crt").exists():
        return
    signed = ["-x509", "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"]
    plain = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", extension]
    _request(folder, name, subject, [*signed, *plain])


def _request(folder: Path, name: str, subject: str, options: Sequence[object]) -> None:
    # The certificate is written last and renamed, so that an incomplete one never counts as done.
    part = folder / f"{name}.part"
    files = ["-keyout", folder / f"{name}.key", "-out", part]
    run(["openssl", "req", "-new", *_KEY, "-subj", subject, *options, *files])
    part.rename(folder / f"{name}.crt")
