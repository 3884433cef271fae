"""Installs AgentRun on the development cluster with Helm, as a platform team would."""

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import cluster, kind, paths
from dev.shell import DevError, attempt, run, step, wait_until


@dataclass(frozen=True)
class Release:
    """An installation of the chart. Tests may install several, isolated, in one cluster."""

    name: str = "agentrun"
    system: str = "agentrun-system"
    """The namespace of the operator and the MCP server."""
    runs: str = "agents"
    """The namespace of the runs."""
    more: tuple[str, ...] = ()
    """Further namespaces of runs."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All namespaces of runs."""
        return (self.runs, *self.more)

    @property
    def service(self) -> str:
        """The name of the MCP server's Service."""
        # As in the chart's templates/_names.tpl.
        return f"{self.name if 'agentrun' in self.name else f'{self.name}-agentrun'}-mcp"


MAIN = Release()
"""The release of the demo and of most tests."""
SYSTEM, RUNS = MAIN.system, MAIN.runs
CLIENT = "agentrun-client"
"""The ServiceAccount that the chart creates for clients, in each namespace of runs."""
GIT = "http://git.agentrun-dev.svc:8080"
GIT_ACCESS: dict[str, Any] = {
    "credentialsSecret": "git-credentials", "repositories": [GIT], "plaintextCredentials": True,
}  # fmt: skip
"""The git settings of a profile for runs that use the development git server."""
REMOTE = "http://a2a.agentrun-dev.svc:8080"
# Not secret: only the scripted model and the git server of the development cluster accept them.
MODEL_KEY = "scripted-model-key"
GIT_USER, GIT_PASSWORD = "agentrun", "development-only"

REAL_KEYS = {"codex": "OPENAI_API_KEY", "claudeCode": "ANTHROPIC_API_KEY"}


CHART = paths.CHECKOUT / "charts" / "agentrun"


def install(name: str, *extra: str, release: Release = MAIN, chart: Path = CHART) -> None:
    """
    Install or upgrade the chart, and wait until it is ready.

    Only the main release installs the CustomResourceDefinitions, of which a cluster has one set.
    """
    env = environment(name)
    apply(env, *(_namespace(release, namespace) for namespace in release.namespaces))
    apply(env, *(one for namespace in release.namespaces for one in _secrets(namespace)))
    if release != MAIN:
        names = ",".join(release.namespaces)
        extra = ("--set", f"crds.enabled=false,runNamespaces={{{names}}}", *_main_client(), *extra)
    command = [
        "helm", "upgrade", "--install", release.name, chart,
        "--namespace", release.system, "--create-namespace", "--wait", "--timeout", "180s",
        # Objects that tests applied before, such as the CRDs, become part of the release.
        "--take-ownership",
        "--values", paths.DEV / "values.yaml", *_this_machine(name), *_real_providers(), *extra,
    ]  # fmt: skip
    with step("installing the chart"):
        run(command, env=env)


def real_providers() -> list[str]:
    """Return the profiles that use the real provider because its key is in the environment."""
    return [profile for profile, variable in REAL_KEYS.items() if os.environ.get(variable)]


def token(name: str, release: Release = MAIN) -> str:
    """Create a short-lived token for a user of the MCP server."""
    return kube(
        environment(name), "create", "token", CLIENT, "-n", release.runs,
        "--audience", "agentrun", "--duration", "2h",
    ).strip()  # fmt: skip


def environment(name: str) -> dict[str, str]:
    """Return an environment in which kubectl and helm use the cluster."""
    path = f"{paths.binaries()}:{os.environ['PATH']}"
    of_cluster = {"AGENTRUN_CLUSTER": name, "KUBECONFIG": str(cluster.kubeconfig(name))}
    return {**os.environ, **of_cluster, "PATH": path}


def kube(env: dict[str, str], *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl and return its output."""
    return run(["kubectl", *arguments], env=env, stdin=stdin)


def apply(env: dict[str, str], *objects: dict[str, Any]) -> None:
    """Create or update objects with kubectl apply."""
    document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    kube(env, "apply", "-f", "-", stdin=json.dumps(document))


@contextmanager
def service_url(name: str, namespace: str, service: str, port: int) -> Iterator[str]:
    """Yield a URL of a Service that is reachable from this machine."""
    with _url(name, namespace, f"service/{service}", "{.spec.clusterIP}", port) as url:
        yield url


@contextmanager
def pod_url(name: str, namespace: str, pod: str, port: int) -> Iterator[str]:
    """Yield a URL of one pod that is reachable from this machine, without a Service."""
    with _url(name, namespace, f"pod/{pod}", "{.status.podIP}", port) as url:
        yield url


@contextmanager
def _url(name: str, namespace: str, target: str, address: str, port: int) -> Iterator[str]:
    """
    Yield a URL of ``target`` that is reachable from this machine.

    The native cluster's addresses are routed; with kind, a port-forward runs during the block.
    """
    if not kind.available():
        found = kube(environment(name), "get", target, "-n", namespace, "-o", f"jsonpath={address}")
        yield f"http://{found}:{port}"
        return
    local = port if target.startswith("service/") else _free_port()
    with forwarded_url(name, namespace, target, port, local) as url:
        yield url


@contextmanager
def forwarded_url(
    name: str, namespace: str, target: str, port: int, local: int = 0
) -> Iterator[str]:
    """Yield the URL of a port-forward to ``target``, which NetworkPolicies do not affect."""
    local = local or _free_port()
    forward = subprocess.Popen(
        ["kubectl", "port-forward", "-n", namespace, target, f"{local}:{port}"],
        env=environment(name), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://localhost:{local}"
        wait_until(f"{target} at {url}", lambda: _answers(url))
        yield url
    finally:
        forward.terminate()
        forward.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    return attempt(["curl", "--silent", "--output", "/dev/null", url]).returncode == 0


def _namespace(release: Release, name: str) -> dict[str, Any]:
    """Build a namespace of runs that Helm can adopt: its Secrets are created before the release."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": "Helm",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
            "annotations": {
                "meta.helm.sh/release-name": release.name,
                "meta.helm.sh/release-namespace": release.system,
            },
        },
    }


def _secrets(namespace: str) -> list[dict[str, Any]]:
    """Build the Secrets of the providers' keys and of the git server's credentials."""
    return [
        *(
            _secret(
                namespace,
                f"{variable.split('_')[0].lower()}-key",
                key=os.environ.get(variable) or MODEL_KEY,
            )
            for variable in REAL_KEYS.values()
        ),
        _secret(
            namespace,
            "git-credentials",
            "kubernetes.io/basic-auth",
            username=GIT_USER,
            password=GIT_PASSWORD,
        ),
    ]


def _secret(namespace: str, name: str, kind: str = "Opaque", **values: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def _main_client() -> list[str]:
    """Authorize the main release's client, which outlives the namespaces of another release."""
    client = {"kind": "ServiceAccount", "name": CLIENT, "namespace": MAIN.runs}
    subject = "mcpServer.access.subjects[0]"
    return ["--set", ",".join(f"{subject}.{key}={value}" for key, value in client.items())]


def _this_machine(name: str) -> list[str]:
    """Allow this machine to reach the MCP server over its route into a native cluster."""
    found = cluster.find(name)
    if found is None:
        return []
    return ["--set", f"networkPolicy.ownPods.clients[0].ipBlock.cidr={found.network.host}/32"]


def _real_providers() -> list[str]:
    flags = []
    for profile in real_providers():
        flags += ["--set", f"profiles.{profile}.provider.baseURL=null"]
    return flags


def clone(url: str, folder: Path) -> None:
    """Clone a repository of the development git server. Raises DevError if that fails."""
    done = attempt(["git", "clone", "--quiet", url, folder])
    if done.returncode != 0:
        raise DevError(f"cannot clone {url}: {done.stderr.strip()}")
