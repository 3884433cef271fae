"""The runner's stop signals. Standard library only: imported before anything large."""

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
