"""
The command line of the store: ``python -m agentrun.store backup > FILE``, and ``restore < FILE``.

It runs where the front door runs, with the same environment.
"""

import argparse
import asyncio
import os
import sys

from agentrun.store.backup import back_up, restore
from agentrun.store.base import StoreError
from agentrun.store.blobs import open_blobs
from agentrun.store.urls import BLOBS_URL, STORE_URL


def main() -> int:
    """Back up or restore; the exit code says whether it was done."""
    parser = argparse.ArgumentParser(prog="python -m agentrun.store", description=__doc__)
    parser.add_argument("command", choices=("backup", "restore"))
    command = parser.parse_args().command
    stream = sys.stdout.buffer if command == "backup" else sys.stdin.buffer
    if stream.isatty():
        parser.error("the archive goes through a pipe or a file, not through a terminal")
    work = back_up if command == "backup" else restore
    store_url = os.environ.get("AGENTRUN_STORE_URL") or STORE_URL
    try:
        blobs = open_blobs(os.environ.get("AGENTRUN_BLOBS_URL") or BLOBS_URL)
        runs, count = asyncio.run(work(store_url, blobs, stream))
    except (StoreError, ValueError, OSError) as error:
        sys.stderr.write(f"agentrun: {command}: {error}\n")
        return 1
    sys.stderr.write(f"agentrun: {command} of {runs} runs and {count} blobs is done\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
