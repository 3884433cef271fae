"""Starts the runner: the pipes first, then everything that takes time to load."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping

from agentrun.api import pod_layout
from agentrun.runner.capability import with_capability
from agentrun.runner.home import write_home
from agentrun.runner.layout import Layout
from agentrun.runner.loading import quickly
from agentrun.runner.pipes import Pipes, announce, make_pipes
from agentrun.runner.stop_signals import STOP_SIGNALS
from agentrun.runner.trust import write_roots


def main(layout: Layout, env: Mapping[str, str]) -> int:
    """Run one attempt of one run, and return the exit code of the process."""
    # Stop signals stay pending until they are handled, so that a run that is stopped during loading
    # is reported as interrupted, and not as a crash of the runner.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    pipes = make_pipes(layout)
    layout = with_capability(layout)
    write_home(
        layout,
        env[pod_layout.ENV_BACKEND],
        env.get(pod_layout.ENV_MODEL),
        env.get(pod_layout.ENV_PERMISSION_MODE),
    )
    announce(layout)
    # Some of the modules that are imported next read the file only once.
    write_roots(layout)

    # The agent's container starts meanwhile; its program begins when the driver starts it.
    return load()(layout, pipes, env)


def load() -> Callable[[Layout, Pipes, Mapping[str, str]], int]:
    """Import the modules that run an attempt; this takes most of half a second."""
    with quickly():
        from agentrun.runner.run import run_attempt

    return run_attempt


if __name__ == "__main__":
    code = main(Layout(), os.environ)
    # Everything is sent and closed. An ordinary exit would free all objects, and delay the end of
    # the pod by a tenth of a second.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
