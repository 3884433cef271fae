"""The lifecycle of one attempt, from the task to the outcome."""

import asyncio
import logging
from collections.abc import Mapping

from agentrun.runner.attempt import Attempt, work
from agentrun.runner.finish import fail, finish
from agentrun.runner.gateway import Gateway, RunFinishedError
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.pipes import Pipes
from agentrun.runner.secrets import known_secrets
from agentrun.runner.settings import Settings
from agentrun.runner.transcript import Transcript, TranscriptHandler
from agentrun.runner.wiring import make_attempt


def run_attempt(layout: Layout, pipes: Pipes, env: Mapping[str, str]) -> int:
    """Run the attempt that the environment names. Always return 0; errors are in the outcome."""
    asyncio.run(_run(layout, pipes, Settings.of(env)))
    return 0


async def _run(layout: Layout, pipes: Pipes, settings: Settings) -> None:
    transcript = Transcript()
    redactor = Redactor([*known_secrets(layout), layout.capability])
    logging.basicConfig(
        handlers=[TranscriptHandler(transcript, redactor.text)], format="%(message)s"
    )
    transcript.log("-", f"{settings.run}, attempt {settings.attempt}, {settings.backend}")
    async with Gateway(settings.gateway_url, layout.token, redactor.add) as gateway:
        await run(make_attempt(settings, layout, pipes, gateway, transcript, redactor))


async def run(attempt: Attempt) -> None:
    """
    Run an attempt to its end and deliver its outcome.

    A stop signal interrupts the work, and limits the time for the steps after it.
    """
    supervisor = attempt.supervisor
    supervisor.listen()
    attempt.senders.start()
    supervisor.watch(asyncio.create_task(attempt.driver.listen()))
    try:
        await finish(attempt, await work(attempt))
    except RunFinishedError as over:
        # The run is sealed or has a newer attempt, so nothing else from this attempt is stored.
        why = attempt.redactor.text(str(over))
        attempt.transcript.log("!", f"the run has finished: {why}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the run's users must hear of it
        await fail(attempt, error)
    finally:
        try:
            await attempt.driver.close()
        finally:
            await supervisor.stop()
