"""The command line of the development tools."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dev import cluster, fixtures, images, kind, paths, product, skewed, tools
from dev.components import COMPONENTS, Cluster, Component, component
from dev.shell import DevError, run, say

Arguments = argparse.Namespace
EVERY_IMAGE = (*images.ALL, skewed.TAG)


def main() -> int:
    """Run the command. An expected failure is printed as one message, without a traceback."""
    arguments = _parser().parse_args()
    try:
        status = arguments.action(arguments)
    except DevError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return int(status or 0)


def _up(a: Arguments) -> None:
    """Start the cluster, or whatever of it is not running."""
    if kind.available():
        kind.up(a.name)
    elif cluster.supported():
        cluster.up(a.name)
    else:
        raise DevError(
            "a cluster needs either a Docker engine that answers `docker info`, or root on Linux "
            "(for network namespaces and control groups): this machine offers neither"
        )
    say(f"export KUBECONFIG={cluster.kubeconfig(a.name)} PATH={paths.binaries()}:$PATH")


def _down(a: Arguments) -> None:
    """Stop the cluster and remove everything of it."""
    if kind.available():
        kind.down(a.name)
    else:
        cluster.down(a.name, Path(a.logs) if a.logs else None)


def _status(a: Arguments) -> int:
    """Say what is running; the exit status is 0 if all of it is."""
    if kind.available():
        tools.build((tools.KIND,))
        there = kind.exists(a.name)
        say(f"cluster {a.name} {'runs' if there else 'is not there'} (kind)")
        return 0 if there else 1
    found = cluster.find(a.name)
    if found is None:
        say(f"cluster {a.name} is not there")
        return 1
    states = {c.name: cluster.is_running(found, c) for c in COMPONENTS}
    for name, running in states.items():
        say(f"{name:26} {'running' if running else 'NOT RUNNING'}")
    say(f"node {found.network.node}, pods {found.network.pods}, services {found.network.services}")
    return 0 if all(states.values()) else 1


def _start(a: Arguments) -> None:
    """Start one component of the cluster."""
    cluster.start(*_component(a))


def _stop(a: Arguments) -> None:
    """Stop one component of the cluster, and wait until it is gone."""
    cluster.stop(*_component(a))


def _restart(a: Arguments) -> None:
    """Stop one component, wait until it is gone, and start it."""
    cluster.stop(*_component(a))
    cluster.start(*_component(a))


def _images(a: Arguments) -> None:
    """Build the images, and load into the cluster those that changed."""
    wanted = EVERY_IMAGE if a.targets == ["all"] else a.targets or images.TARGETS
    targets = [target for target in wanted if target != skewed.TAG]
    images.build(targets, a.tag)
    built = [images.name_of(target, a.tag) for target in targets]
    if skewed.TAG in wanted:
        built += skewed.build()
    if a.prepare:
        images.unpack(built)
    else:
        images.load(a.name, built)


def _volumes(a: Arguments) -> None:
    """Empty the volumes that no claim holds, and offer them again."""
    found = cluster.find(a.name)
    if found:
        say(f"{cluster.recycle_volumes(found)} volumes offered again")


def _component(a: Arguments) -> tuple[Cluster, Component]:
    found, wanted = cluster.find(a.name), component(a.component)
    if wanted is None:
        raise DevError(f"{a.component} is none of: {', '.join(c.name for c in COMPONENTS)}")
    if found is None:
        raise DevError(f"cluster {a.name} is not there: run `python -m dev up`")
    return found, wanted


def _demo(a: Arguments) -> None:
    """Bring the cluster up and do the main job on it, as a user's MCP client would."""
    from dev import demo  # needs the MCP SDK; the other commands need only the standard library

    _up(a)
    demo.play(a.name)


def _check_kind_config(_: Arguments) -> None:
    """Check kind-config.yaml with kind's own loader."""
    tools.build((tools.KIND_CONFIG,))
    checker = paths.binaries() / tools.KIND_CONFIG.name
    say(run([checker, paths.CHECKOUT / "kind-config.yaml"]).strip())


def _run(a: Arguments) -> int:
    """Run a command with the cluster's KUBECONFIG and the tools on PATH."""
    words = a.words[1:] if a.words[:1] == ["--"] else a.words
    return subprocess.run(words, env=product.environment(a.name), check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev", description=__doc__)
    default = os.environ.get("AGENTRUN_CLUSTER") or "agentrun"
    parser.add_argument("--name", default=default, help="the cluster's name (%(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[Arguments], int | None], help: str = ""
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help or (action.__doc__ or "").strip())
        sub.set_defaults(action=action)
        return sub

    command("tools", lambda _: tools.install(), "Install or build whatever is missing.")
    command("up", _up)
    sub = command("down", _down)
    sub.add_argument("--logs", metavar="FOLDER", help="where to keep its logs")
    command("status", _status)
    for name, action in (("start", _start), ("stop", _stop), ("restart", _restart)):
        command(name, action).add_argument("component")
    command("kubeconfig", lambda a: say(str(cluster.kubeconfig(a.name))), "Print its path.")
    command("bin", lambda _: say(str(paths.binaries())), "Print the folder of kubectl and helm.")
    command("volumes", _volumes)
    sub = command("images", _images)
    sub.add_argument("targets", nargs="*", help=f"all, or some of {', '.join(EVERY_IMAGE)}")
    sub.add_argument("--tag", default="dev")
    sub.add_argument(
        "--prepare", action="store_true", help="unpack them for new clusters, load them into none"
    )
    sub = command(
        "load-image",
        lambda a: images.load(a.name, a.images),
        "Load images that were built on this machine.",
    )
    sub.add_argument("images", nargs="+")
    command(
        "fixtures",
        lambda a: fixtures.apply(a.name),
        "Put the scripted model and the git server into the cluster.",
    )
    command("check-kind-config", _check_kind_config)
    command("demo", _demo)
    sub = command("run", _run)
    sub.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
