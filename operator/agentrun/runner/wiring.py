"""
Construction of the parts of an attempt.

Each driver is imported only for its kind of agent: together they would exceed the runner's memory
limit.
"""

from agentrun.runner.driver import AgentDriver
from agentrun.runner.gateway import Gateway
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.loading import quickly
from agentrun.runner.pipes import Pipes
from agentrun.runner.questions import Questions
from agentrun.runner.secrets import (
    provider_key,
    remote_credentials,
    remote_credentials_card,
    remote_credentials_url,
)
from agentrun.runner.settings import Settings
from agentrun.runner.status_reporter import StatusReporter


def make_driver(
    settings: Settings,
    layout: Layout,
    pipes: Pipes,
    gateway: Gateway,
    journal: Journal,
    reporter: StatusReporter,
    redactor: Redactor,
) -> AgentDriver:
    """Create the driver for the agent in the pod, or for a remote agent."""
    questions = Questions(journal, reporter, gateway, settings.attempt, settings.idle)
    if settings.is_remote:
        from agentrun.runner.a2a.config import ShownCredentials
        from agentrun.runner.a2a.driver import A2aDriver

        given = ShownCredentials(
            remote_credentials(layout), remote_credentials_url(layout),
            remote_credentials_card(layout), provider_key(layout), settings.provider,
        )  # fmt: skip
        return A2aDriver(gateway, journal, reporter, questions, redactor.text, given)
    with quickly():
        from agentrun.runner.acp.driver import AcpDriver

    return AcpDriver(settings, layout, pipes, gateway, journal, reporter, questions, redactor)
