"""Processes that a careless tool of an agent leaves behind; a cancelled run must leave none."""

from tests.e2e.installation import Installation

# A child in a session of its own, one that was forked twice, and one that ignores SIGTERM.
ORPHANS = (
    "(setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 &) ; "
    "(sh -c 'sh -c \"while :; do sleep 1; done\" &' &) ; "
    "echo started; "
    "python3 -c 'import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'"
)


async def until_event(platform: Installation, run_id: str, kind: str) -> None:
    """Wait until the journal of a run has an event of a kind."""
    async for event in platform.client.events(run_id):
        if event["type"] == kind:
            return
    raise AssertionError(f"{run_id} ended without {kind}")
