"""The releases that tests share: each is installed once, by the first test that needs it."""

import hashlib

from dev import images, paths, product, shell
from dev.product import Release

SETTINGS = (
    # More than the 10 to 15 s after which the kubelet retries a failure: on a busy machine it may
    # not have a new Secret in time, and then pulls without it.
    "--set", "operator.stuckTimeoutSeconds=30",
    "--set", "operator.resyncSeconds=30",
    "--set", "profiles.opencode.enabled=true,profiles.gemini.enabled=true",
)  # fmt: skip
"""Settings of the main release: timeouts as short as a busy machine allows."""

SPOILED = ("impatient", "impatient-agents", "impatient-more", "impatient-pods", "impatient-full")
"""A namespace for each file of failures, and one in which no session may be created."""
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
    Install a release, unless it is already installed identically.

    It is shared by the processes of one test run, and by test runs on a cluster that stays up.
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
    """Hash everything that determines an installation."""
    digest = hashlib.sha256(repr(flags).encode())
    files = [file for file in sorted(product.CHART.rglob("*")) if file.is_file()]
    for file in (*files, paths.DEV / "values.yaml"):
        digest.update(file.read_bytes())
    for target in ("operator", "mcp-server", "runner"):
        digest.update(images.digest_of(target, "").encode())
    return digest.hexdigest()


def _restart(cluster: str, release: Release) -> None:
    """Replace the pods: a rebuilt image has the same tag as before."""
    env, where = product.environment(cluster), ("-n", release.system)
    product.kube(env, "rollout", "restart", "deployment", *where)
    for component in ("operator", "mcp"):
        name = f"deployment/{release.service.removesuffix('mcp')}{component}"
        product.kube(env, "rollout", "status", name, *where, "--timeout=120s")
