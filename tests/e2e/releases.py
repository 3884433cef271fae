"""The releases that tests share: each is installed once, by whoever needs it first."""

import hashlib

from dev import images, paths, product, shell
from dev.product import Release

SETTINGS = (
    # More than the 10 to 15 s after which the kubelet tries again what failed once: on a busy
    # machine it does not always get a new Secret in time, and pulls without.
    "--set", "operator.stuckTimeoutSeconds=30",
    "--set", "operator.resyncSeconds=30",
    "--set", "profiles.opencode.enabled=true,profiles.gemini.enabled=true",
)  # fmt: skip
"""How the main release is installed: impatient, but not beyond what a busy machine does."""

SPOILED = ("impatient", "impatient-agents", "impatient-more", "impatient-pods", "impatient-full")
"""A namespace for each file of failures, and one in which no session may be made."""
IMPATIENT = Release("impatient", "impatient-system", *SPOILED[:1], more=SPOILED[1:])
IMPATIENT_FLAGS = tuple(
    flag
    for setting in (
        "operator.startTimeoutSeconds=90",
        "operator.stuckTimeoutSeconds=15",
        "operator.unschedulableTimeoutSeconds=120",
        "operator.gatewayTimeoutSeconds=40",
        "operator.resyncSeconds=30",
        "profiles.codex.enabled=false,profiles.claudeCode.enabled=false",
    )
    for flag in ("--set", setting)
)


def installed(cluster: str, release: Release, *flags: str) -> None:
    """
    Install a release, unless it is there just so.

    Processes of one test run share it, and so do test runs on a cluster that is kept up.
    """
    folder = paths.state(cluster)
    mark = folder / f"installed-{release.name}"
    with shell.alone(folder / "installing.lock"):
        wanted = _digest(flags)
        if mark.exists() and mark.read_text(encoding="ascii") == wanted:
            return
        is_there = mark.exists()
        mark.unlink(missing_ok=True)
        product.install(cluster, *flags, release=release)
        if is_there:
            _restart(cluster, release)
        mark.write_text(wanted, encoding="ascii")


def _digest(flags: tuple[str, ...]) -> str:
    """Hash all that an installation is made of."""
    digest = hashlib.sha256(repr(flags).encode())
    files = [file for file in sorted(product.CHART.rglob("*")) if file.is_file()]
    for file in (*files, paths.DEV / "values.yaml"):
        digest.update(file.read_bytes())
    for target in ("operator", "mcp-server", "runner"):
        digest.update(images.digest_of(target, "").encode())
    return digest.hexdigest()


def _restart(cluster: str, release: Release) -> None:
    """Have new pods: an image that was built again has the tag that it had."""
    env, where = product.environment(cluster), ("-n", release.system)
    product.kube(env, "rollout", "restart", "deployment", *where)
    for component in ("operator", "mcp"):
        name = f"deployment/{release.service.removesuffix('mcp')}{component}"
        product.kube(env, "rollout", "status", name, *where, "--timeout=120s")
