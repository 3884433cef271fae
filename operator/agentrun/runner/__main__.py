"""Starting the runner: first the pipes, then everything that takes time to load."""

import os
import signal
import sys
from collections.abc import Callable, Mapping

from agentrun.api import pod_layout
from agentrun.runner.backends import write_home
from agentrun.runner.capability import with_capability
from agentrun.runner.layout import Layout
from agentrun.runner.pipes import Pipes, announce, make_pipes
from agentrun.runner.stop_signals import STOP_SIGNALS
from agentrun.runner.trust import write_roots


def main(layout: Layout, env: Mapping[str, str]) -> int:
    """Run one attempt of one run, and return the exit code of the process."""
    # What tells it to stop waits until somebody listens, so that also a run that is ended while
    # this loads says that it was interrupted, and is not taken for one whose runner crashed.
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
    # Some of what is imported next reads it once and for all.
    write_roots(layout)

    # The agent's container starts meanwhile; its program begins when ``Attempt`` says so.
    return load()(layout, pipes, env)


def load() -> Callable[[Layout, Pipes, Mapping[str, str]], int]:
    """Import what runs an attempt; that takes most of a second."""
    from pydantic import BaseModel

    # The ACP library defines hundreds of models, of which the runner uses a dozen: they are built
    # when they are first used. That is 3 MB of the 64 that a runner may take.
    BaseModel.model_config["defer_build"] = True

    from agentrun.runner.run import run_attempt

    return run_attempt


if __name__ == "__main__":
    sys.exit(main(Layout(), os.environ))
