"""
The components of the cluster: their command lines and configurations.

Definitions only: nothing here starts a process. ``COMPONENTS`` is in the order of startup.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import paths
from dev.network import Network

MAX_PODS = 250
MAX_PIDS = 1024
"""Per pod: enough for an agent and a build, too few for a fork bomb to affect other pods."""

PAUSE_IMAGE = "localhost/agentrun/pause:dev"
DNS_IMAGE = "localhost/agentrun/coredns:dev"
POLICIES_PORT = 10260


@dataclass(frozen=True)
class Cluster:
    """A cluster: the names, paths and addresses that everything else is derived from."""

    name: str
    network: Network

    @property
    def folder(self) -> Path:
        """The folder with all files of the cluster."""
        return paths.state(self.name)

    @property
    def cgroup(self) -> str:
        """The control group of all processes of the cluster."""
        return f"agentrun-{self.name}"

    @property
    def node(self) -> str:
        """The name of the only node."""
        return f"{self.name}-node"

    @property
    def server(self) -> str:
        """The URL of the API server, for the host and for pods."""
        return f"https://{self.network.node}:6443"

    @property
    def socket(self) -> Path:
        """The containerd socket."""
        return self.folder / "containerd.sock"

    def pki(self, name: str) -> Path:
        """Return the path of a key or certificate."""
        return self.folder / "pki" / name

    def config(self, name: str) -> Path:
        """Return the path of a configuration file."""
        return self.folder / "config" / name

    def volume(self, number: int) -> Path:
        """Return the folder of a PersistentVolume."""
        return self.folder / "volumes" / f"{number:02}"


@dataclass(frozen=True)
class Component:
    """A process of the cluster, with its health check."""

    name: str
    command: Callable[[Cluster], list[object]]
    health: str | None
    """The URL of the health check on the node, without ``http``; None if it is not HTTP."""


def _etcd(c: Cluster) -> list[object]:
    here = "http://127.0.0.1:2379"
    return [
        paths.binaries() / "etcd",
        *("--name=dev", f"--data-dir={c.folder / 'etcd'}"),
        *(f"--listen-client-urls={here}", f"--advertise-client-urls={here}"),
        "--listen-peer-urls=http://127.0.0.1:2380",
        f"--listen-metrics-urls=http://{c.network.node}:2381",
        # What a power failure could lose is created again by the next `up`.
        "--unsafe-no-fsync",
        # It has no peers that need its heartbeat, which is sent ten times a second by default.
        *("--heartbeat-interval=1000", "--election-timeout=5000"),
    ]


def _api_server(c: Cluster) -> list[object]:
    return [
        paths.binaries() / "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={c.network.node}",
        f"--service-cluster-ip-range={c.network.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={c.pki('ca.crt')}",
        f"--tls-cert-file={c.pki('server.crt')}",
        f"--tls-private-key-file={c.pki('server.key')}",
        f"--kubelet-client-certificate={c.pki('admin.crt')}",
        f"--kubelet-client-key={c.pki('admin.key')}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={c.pki('sa.pub')}",
        f"--service-account-signing-key-file={c.pki('sa.key')}",
        f"--audit-policy-file={paths.MANIFESTS / 'audit' / 'policy.yaml'}",
        f"--audit-log-path={c.folder / 'logs' / 'audit.log'}",
        # Older Events are not used, and each list of Events reads all of them from etcd.
        "--event-ttl=15m",
        # All of the audit log is kept: it is compared with the permissions of the components.
        *("--audit-log-maxsize=200", "--audit-log-maxbackup=0"),
    ]


def _controller_manager(c: Cluster) -> list[object]:
    return [
        paths.binaries() / "kube-controller-manager",
        f"--kubeconfig={c.config('controller-manager.kubeconfig')}",
        *("--leader-elect=false", "--use-service-account-credentials=true"),
        f"--root-ca-file={c.pki('ca.crt')}",
        f"--service-account-private-key-file={c.pki('sa.key')}",
        f"--cluster-signing-cert-file={c.pki('ca.crt')}",
        f"--cluster-signing-key-file={c.pki('ca.key')}",
    ]


def _scheduler(c: Cluster) -> list[object]:
    kubeconfig = c.config("scheduler.kubeconfig")
    return [
        paths.binaries() / "kube-scheduler",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
    ]


def _containerd(c: Cluster) -> list[object]:
    return ["containerd", "--config", c.config("containerd.toml")]


def _kubelet(c: Cluster) -> list[object]:
    return [
        paths.binaries() / "kubelet",
        f"--config={c.config('kubelet.json')}",
        f"--kubeconfig={c.config('kubelet.kubeconfig')}",
        f"--root-dir={c.folder / 'kubelet'}",
        f"--cert-dir={c.folder / 'pki' / 'kubelet'}",
        f"--hostname-override={c.node}",
        f"--node-ip={c.network.node}",
    ]


def _proxy(c: Cluster) -> list[object]:
    return [paths.binaries() / "kube-proxy", f"--config={c.config('proxy.json')}"]


def _policies(c: Cluster) -> list[object]:
    python_path = f"{paths.CHECKOUT / 'operator'}:{paths.CHECKOUT}"
    return [
        # Nothing else of the environment: no proxy, and no API server of a pod that this runs in.
        *("env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={python_path}"),
        f"KUBECONFIG={c.config('policies.kubeconfig')}",
        *(sys.executable, "-m", "dev.policies", c.network.node, POLICIES_PORT),
    ]


COMPONENTS = (
    Component("etcd", _etcd, "://{node}:2381/health"),
    Component("kube-apiserver", _api_server, "s://{node}:6443/readyz"),
    Component("kube-controller-manager", _controller_manager, "s://{node}:10257/healthz"),
    Component("kube-scheduler", _scheduler, "s://{node}:10259/healthz"),
    Component("containerd", _containerd, None),
    Component("kubelet", _kubelet, "://{node}:10248/healthz"),
    # After the kubelet: it is not healthy before its node exists.
    Component("kube-proxy", _proxy, "://{node}:10256/healthz"),
    Component("network-policies", _policies, f"://{{node}}:{POLICIES_PORT}/healthz"),
)


def component(name: str) -> Component | None:
    """Return a component by its name, with or without ``kube-``; None if there is none."""
    return next((c for c in COMPONENTS if name in {c.name, c.name.removeprefix("kube-")}), None)


def configurations(c: Cluster) -> dict[str, str]:
    """Build all configuration files except the kubeconfigs, by file name."""
    return {
        "containerd.toml": _containerd_config(c),
        "cni/10-bridge.conflist": json.dumps(_cni_config(c), indent=1),
        "kubelet.json": json.dumps(_kubelet_config(c), indent=1),
        "proxy.json": json.dumps(_proxy_config(c), indent=1),
        "resolv.conf": f"nameserver {c.network.dns}\n",
    }


def _containerd_config(c: Cluster) -> str:
    runc = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]'
    return f"""\
version = 2
root = "{c.folder / "containerd"}"
state = "{c.folder / "containerd-state"}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{c.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Lowering a score is not allowed on every machine, and every sandbox would die of it.
restrict_oom_score_adj = true
# Else they are left in /run/netns, among the host's own.
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{c.config("registries")}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{c.config("cni")}"
{runc}
runtime_type = "io.containerd.runc.v2"
"""


def _cni_config(c: Cluster) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(c.folder / "cni"),
        "ranges": [[{"subnet": c.network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipam": addresses}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            # With hairpin mode a pod reaches itself through its own Service.
            {**bridge, "ipMasq": False, "hairpinMode": True},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet_config(c: Cluster) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(c.pki("ca.crt"))}},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{c.cgroup}",
        "clusterDNS": [c.network.dns],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{c.socket}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzBindAddress": c.network.node,
        "maxPods": MAX_PODS,
        "podLogsDir": str(c.folder / "pod-logs"),
        "podPidsLimit": MAX_PIDS,
        "resolvConf": str(c.config("resolv.conf")),
        # It is the developer's disk, which may be fuller than a node's should be.
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "2%"},
        "imageGCHighThresholdPercent": 100,
    }


def _proxy_config(c: Cluster) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(c.config("proxy.kubeconfig"))},
        "clusterCIDR": c.network.pods,
        # Zero leaves the machine's conntrack limits unchanged.
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": f"{c.network.node}:10256",
        "hostnameOverride": c.node,
        "mode": "nftables",
    }
