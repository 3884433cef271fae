"""What tells the runner to stop. Imported before what takes time: standard library only."""

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
