"""
The command line of the store: ``python -m agentrun.store backup > FILE``, ``restore < FILE``, and
``forget RUN``, which removes all stored data of a run.

It runs where the MCP server runs, with the same environment.
"""

import argparse
import asyncio
import os
import sys
from typing import IO

from agentrun.store.backup import back_up, restore
from agentrun.store.base import StoreError
from agentrun.store.blobs import ObjectBlobStore, open_blobs
from agentrun.store.forget import Request, forget
from agentrun.store.urls import BLOBS_URL, STORE_URL


def main() -> int:
    """Execute the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m agentrun.store", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("backup", help="write database and blobs to stdout, as a tar archive")
    commands.add_parser("restore", help="restore the archive of a backup from stdin")
    forgets = commands.add_parser("forget", help="remove a run's row, journal, messages and blobs")
    forgets.add_argument("run", help="the run's name, or its uid")
    forgets.add_argument("--namespace", help="its namespace, if several have a run of this name")
    forgets.add_argument("--deleted", action="store_true", help="confirm the AgentRun's deletion")
    given = parser.parse_args()
    if given.command != "forget" and _stream(given.command).isatty():
        parser.error("the archive must be a pipe or a file, not a terminal")
    store_url = os.environ.get("AGENTRUN_STORE_URL") or STORE_URL
    try:
        blobs = open_blobs(os.environ.get("AGENTRUN_BLOBS_URL") or BLOBS_URL)
        message = asyncio.run(_forget(store_url, blobs, given) if given.command == "forget"
                           else _archive(store_url, blobs, given.command))  # fmt: skip
    except (StoreError, ValueError, OSError) as error:
        sys.stderr.write(f"agentrun: {given.command}: {error}\n")
        return 1
    sys.stderr.write(f"agentrun: {message}\n")
    return 0


def _stream(command: str) -> IO[bytes]:
    return sys.stdout.buffer if command == "backup" else sys.stdin.buffer


async def _archive(store_url: str, blobs: ObjectBlobStore, command: str) -> str:
    work = back_up if command == "backup" else restore
    runs, count = await work(store_url, blobs, _stream(command))
    return f"{command} of {runs} runs and {count} blobs is done"


async def _forget(store_url: str, blobs: ObjectBlobStore, given: argparse.Namespace) -> str:
    request = Request(given.run, given.namespace, given.deleted)
    row, removed = await forget(store_url, blobs, request)
    meta = row.run.metadata
    message = (
        f"run {meta.name} (uid {meta.uid}, namespace {meta.namespace}) is forgotten: its row, its"
        f" blobs, {removed.events} events, {removed.messages} messages to its agent, and the text"
        f" of {removed.sent} messages that its agent had sent"
    )
    if removed.keeps_session:
        message += "; messages of its session are retained, because the session has other runs"
    return f"{message}. Backups are not changed."


if __name__ == "__main__":
    sys.exit(main())
