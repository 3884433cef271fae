"""
A one-node Kubernetes cluster of ordinary processes, for machines without a container engine.

Every step creates what is missing and keeps the rest, so that starting a cluster, finding it
running, and repairing it after a crash share the same code.
"""

import json
import os
import shutil
import ssl
import sys
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from dev import (
    addons,
    dns,
    network,
    oci,
    paths,
    pki,
    processes,
    shell,
    tools,
    unpacked,
)
from dev.components import COMPONENTS, DNS_IMAGE, PAUSE_IMAGE, Cluster, Component, configurations
from dev.shell import DevError, attempt, run, say, step, wait_until

CLIENTS = (
    pki.Client("admin", "admin", "system:masters"),
    pki.Client("controller-manager", "system:kube-controller-manager"),
    pki.Client("scheduler", "system:kube-scheduler"),
    pki.Client("proxy", "system:kube-proxy"),
    pki.Client("policies", "agentrun-dev:policies"),
)


@dataclass(frozen=True)
class _About:
    """The state of a cluster that cannot be derived from its name."""

    boot_id: str
    slot: int


def supported() -> bool:
    """Return whether this machine can run the cluster's processes."""
    return sys.platform == "linux" and os.geteuid() == 0


def find(name: str) -> Cluster | None:
    """Return the cluster of that name if it was started since the machine's last boot."""
    about = _about(name)
    if about is None or about.boot_id != processes.boot_id():
        return None
    return Cluster(name, network.network_of(name, about.slot))


def up(name: str) -> None:
    """Start the cluster, or those components of it that are not running."""
    tools.install_packages()
    tools.build((*tools.CLUSTER, *tools.CLIENTS))
    with alone(name):
        cluster = find(name)
        if cluster and all(is_running(cluster, c) for c in COMPONENTS) and _node_ready(cluster):
            say(f"cluster {name} is already running")
        else:
            cluster = _start(name, cluster)
        recycle_volumes(cluster)


def _start(name: str, found: Cluster | None) -> Cluster:
    if found is None:
        # What remains from before the last boot is unusable, and would conflict.
        tear_down(name)
    cluster = found or Cluster(name, network.free_network(name))
    cluster.folder.mkdir(parents=True, exist_ok=True)
    about = _About(processes.boot_id(), cluster.network.slot)
    _write(cluster.folder / "cluster.json", json.dumps(asdict(about)))
    with step("network"):
        network.create(cluster.network)
        processes.make_cgroup(cluster.cgroup)
    with step("certificates"):
        _make_certificates(cluster)
    unpacked.seed(cluster.folder / "containerd")
    for component in COMPONENTS:
        start(cluster, component)
        if component.name == "kube-apiserver":
            # Before the next components start: without their roles they may not read anything.
            objects = [*addons.policies_role(), *dns.objects(cluster), addons.storage_class()]
            kubectl(cluster.name, "apply", "-f", "-", stdin=addons.manifest(objects))
        if component.name == "containerd":
            _import_images(cluster)
    with step("node ready"):
        wait_until("the node is ready", lambda: _node_ready(cluster))
    with step("names resolve"):
        which = ("-n", dns.NAMESPACE, "rollout", "status", f"deployment/{dns.NAME}")
        kubectl(cluster.name, *which, "--timeout=60s")
    return cluster


def start(cluster: Cluster, component: Component) -> None:
    """Start a component and wait until it is healthy. Does nothing if it is running."""
    if is_running(cluster, component):
        return
    for folder in ("run", "logs"):
        (cluster.folder / folder).mkdir(exist_ok=True)
    # Written on every start, so that they always match the command line below.
    for name, content in configurations(cluster).items():
        _write(cluster.config(name), content)
    with step(component.name):
        log = cluster.folder / "logs" / f"{component.name}.log"
        command = component.command(cluster)
        netns = str(cluster.network.path)
        processes.start(command, record(cluster, component), log, cluster.cgroup, netns)
        try:
            wait_until(f"{component.name} works", lambda: is_healthy(cluster, component))
        except DevError as error:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
            raise DevError(f"{error}\n{tail}\nSee {log}") from error


def stop(cluster: Cluster, component: Component) -> None:
    """Stop a component and wait until its process has exited."""
    if is_running(cluster, component):
        with step(f"stopping {component.name}"):
            processes.stop(record(cluster, component))


def record(cluster: Cluster, component: Component) -> Path:
    """Return the path of the file that records a component's process."""
    return cluster.folder / "run" / f"{component.name}.json"


def is_running(cluster: Cluster, component: Component) -> bool:
    """Return whether the component's process exists."""
    return processes.load(record(cluster, component)) is not None


def is_healthy(cluster: Cluster, component: Component) -> bool:
    """Return whether a component is healthy. Raises DevError if its process has exited."""
    if not is_running(cluster, component):
        raise DevError(f"{component.name} ended right after its start")
    if component.health is None:
        return attempt([*oci.ctr(cluster.socket), "version"]).returncode == 0
    url = "http" + component.health.format(node=cluster.network.node)
    # Unverified: a health check carries no secrets, and its result proves no identity.
    unchecked = ssl._create_unverified_context()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def kubeconfig(name: str) -> Path:
    """Return the path of the administrator's kubeconfig, for native and kind clusters."""
    return paths.state(name) / "kubeconfig"


def kubectl(name: str, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the cluster's administrator."""
    command = [paths.binaries() / "kubectl", "--kubeconfig", kubeconfig(name), *arguments]
    return run(command, stdin=stdin)


def recycle_volumes(cluster: Cluster) -> int:
    """
    Create every PersistentVolume that no claim holds, with an empty folder. Return their number.

    The cluster has no provisioner, and a local volume whose claim was deleted stays Released.
    """
    listed = kubectl(cluster.name, "get", "persistentvolumes", "-o", "json")
    phases = {
        item["metadata"]["name"]: item["status"].get("phase")
        for item in json.loads(listed)["items"]
    }
    numbers = [
        number
        for number in range(1, addons.VOLUMES + 1)
        if phases.get(addons.volume_name(number)) in {None, "Released", "Failed"}
    ]
    released = [addons.volume_name(n) for n in numbers if addons.volume_name(n) in phases]
    if released:
        kubectl(cluster.name, "delete", "persistentvolume", *released)
    for number in numbers:
        folder = cluster.volume(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    if numbers:
        objects = [addons.volume(cluster, number) for number in numbers]
        kubectl(cluster.name, "apply", "-f", "-", stdin=addons.manifest(objects))
    return len(numbers)


def down(name: str, logs: Path | None = None) -> None:
    """Stop the cluster and remove everything of it in any state; copy its logs to ``logs``."""
    with alone(name):
        tear_down(name, logs)


def tear_down(name: str, logs: Path | None = None) -> None:
    """Remove all processes, mounts, devices and files of a cluster; copy its logs to ``logs``."""
    about = _about(name)
    cluster = Cluster(name, network.network_of(name, about.slot if about else None))
    # In reverse order: what would restart processes stops first. Nothing is reused, so there is
    # no grace period.
    for component in reversed(COMPONENTS):
        processes.stop(record(cluster, component), seconds=0)
    if processes.tracked(cluster.cgroup).exists():
        with step("ending the pods"):
            processes.remove_cgroup(cluster.cgroup)
    for address in cluster.folder.glob("containerd-state/*/k8s.io/*/address"):
        Path(address.read_text(encoding="utf-8").removeprefix("unix://")).unlink(missing_ok=True)
    for mount in reversed(_mounts(cluster.folder)):
        run(["umount", "--lazy", mount])
    network.delete(cluster.network)
    if logs is not None and (written := cluster.folder / "logs").exists():
        shutil.copytree(written, logs, dirs_exist_ok=True)
    if cluster.folder.exists():
        with step(f"removing {cluster.folder}"):
            shutil.rmtree(cluster.folder)


def _make_certificates(cluster: Cluster) -> None:
    net = cluster.network
    services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names = [f"IP:{ip}" for ip in ("127.0.0.1", net.api, net.node)]
    names += [f"DNS:{host}" for host in (*services, "localhost")]
    node = pki.Client("kubelet", f"system:node:{cluster.node}", "system:nodes")
    pki.create(cluster.pki(""), names, [*CLIENTS, node])
    for client in (*CLIENTS, node):
        content = pki.kubeconfig(cluster.pki(""), client.name, cluster.server)
        _write(cluster.config(f"{client.name}.kubeconfig"), content)
    _write(kubeconfig(cluster.name), pki.kubeconfig(cluster.pki(""), "admin", cluster.server))


def _import_images(cluster: Cluster) -> None:
    """Import the images that consist of one program each."""
    containerd = oci.ctr(cluster.socket)
    for image, program, user in ((PAUSE_IMAGE, "pause", "65535:65535"), (DNS_IMAGE, "coredns", "")):
        binary = (paths.binaries() / program).resolve()
        archive = binary.with_name(f"{program}.tar")
        with tools.alone("images"):
            if not archive.exists():
                oci.archive_program(binary, image, user, archive)
        run([*containerd, "images", "import", archive])


def _node_ready(cluster: Cluster) -> bool:
    query = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    command = [paths.binaries() / "kubectl", "--kubeconfig", kubeconfig(cluster.name)]
    return attempt([*command, "get", "node", cluster.node, "-o", query]).stdout.strip() == "True"


def _mounts(folder: Path) -> list[str]:
    """Return the mounts below ``folder`` in the order of mounting."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as table:
        targets = [line.split()[4] for line in table]
    return [target for target in targets if target.startswith(f"{folder}/")]


def _about(name: str) -> _About | None:
    try:
        text = (paths.state(name) / "cluster.json").read_text(encoding="utf-8")
        return _About(**json.loads(text))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(file: Path, content: str) -> None:
    # kube-proxy exits whenever its configuration file is written, even if it is unchanged.
    if file.exists() and file.read_text(encoding="utf-8") == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    file.chmod(0o600)


def alone(name: str) -> AbstractContextManager[None]:
    """Hold the cluster's lock, so that only one command changes it at a time."""
    return shell.alone(paths.state(name).with_name(f"{name}.lock"))
