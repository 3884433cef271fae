"""
Construction of the parts of an attempt.

Each driver is imported only for its kind of agent: together they would exceed the runner's memory
limit.
"""

from agentrun.runner.attempt import Attempt, Senders
from agentrun.runner.driver import AgentDriver
from agentrun.runner.gateway import Gateway
from agentrun.runner.git.git import Git
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.journal.spool import Spool
from agentrun.runner.layout import Layout
from agentrun.runner.loading import quickly
from agentrun.runner.outcome_reporter import OutcomeReporter
from agentrun.runner.pipes import Pipes
from agentrun.runner.preparer import Preparer
from agentrun.runner.questions import Questions
from agentrun.runner.secrets import (
    provider_key,
    remote_credentials,
    remote_credentials_card,
    remote_credentials_url,
)
from agentrun.runner.settings import Settings
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.supervisor import Supervisor
from agentrun.runner.transcript import Transcript


def make_attempt(
    settings: Settings,
    layout: Layout,
    pipes: Pipes,
    gateway: Gateway,
    transcript: Transcript,
    redactor: Redactor,
) -> Attempt:
    """Create the parts of the attempt that ``settings`` name; nothing runs yet."""
    spool = Spool(layout.spool / "events")
    journal = Journal(spool, gateway, redactor, settings.attempt, transcript.event)
    reporter = StatusReporter(gateway)
    supervisor = Supervisor(settings.grace, transcript)
    driver = _make_driver(settings, layout, pipes, gateway, journal, reporter, redactor)
    git = Git(layout.spool / "git", layout.git_credentials, redactor)
    return Attempt(
        settings=settings,
        layout=layout,
        gateway=gateway,
        journal=journal,
        reporter=reporter,
        senders=Senders(journal, reporter, supervisor),
        driver=driver,
        preparer=Preparer(layout, settings, gateway, git, redactor, transcript),
        git=git,
        outcomes=OutcomeReporter(
            journal, gateway, redactor, settings.attempt, layout.termination_log
        ),
        supervisor=supervisor,
        transcript=transcript,
        redactor=redactor,
    )


def _make_driver(
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
