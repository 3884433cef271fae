"""
Notifications of other processes' writes to a PostgreSQL database.

One dedicated connection listens. Whenever it is lost, it is opened again, and all waiting readers
are woken to read what was missed. It is checked periodically with a notification to itself, since a
dead network reports no error. Behind a pooler that assigns connections per transaction, LISTEN
succeeds but notifications are unreliable: such a pooler is rejected.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from agentrun.backoff import Backoff
from agentrun.store.base import StoreUnavailableError
from agentrun.store.notifier import Notifier, decode
from agentrun.store.postgres_errors import explain

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

CHANNEL = "agentrun"

_CHECK_SECONDS = 15.0
_ECHO_SECONDS = 10.0
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# A restart takes a second or two, which needs no warning and no wake-ups; longer outages do.
_PATIENT_TRIES = 4
_CHECK = "check"
_PROCESS = "SELECT pg_backend_pid()"
_log = logging.getLogger(__name__)


class Listener:
    """Wakes readers when another process notifies that a run has changed."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        sender: str,
        notifier: Notifier,
        name: str,
        check_seconds: float = _CHECK_SECONDS,
    ) -> None:
        self._connect = connect
        self._sender = sender
        self._notifier = notifier
        self._name = name
        self._check_seconds = check_seconds
        self._echo = asyncio.Event()
        self._lost = asyncio.Event()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """
        Start to listen.

        Raises what ``connect`` raises, and StoreUnavailableError if no notification is received.
        """
        await self._listen()
        self._task = asyncio.create_task(self._follow(), name="listen")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._release()

    async def _follow(self) -> None:
        while True:
            await self._watch()
            await self._again()
            _log.info("%s: notifications are received again", self._name)
            self._notifier.everybody()

    async def _listen(self) -> None:
        """Open the connection, and check that it receives notifications."""
        self._release()
        self._connection = connection = await self._connect()
        self._lost.clear()
        connection.add_termination_listener(self._on_lost)
        await connection.add_listener(CHANNEL, self._on_notice)
        if await self._is_lent(connection):
            raise self._deaf()
        await self._check(connection)

    async def _is_lent(self, connection: Connection) -> bool:
        """
        Whether a pooler assigns connections per transaction.

        A pooler does not report the true process id at the start. One in transaction mode has
        assigned the server's process to another client by the next transaction, or assigns another
        one to this connection.
        """
        process = await connection.fetchval(_PROCESS)
        if process == connection.get_server_pid():
            return False
        other = await self._connect()
        try:
            async with other.transaction():
                others = await other.fetchval(_PROCESS)
                return bool(others == process or await connection.fetchval(_PROCESS) != process)
        finally:
            other.terminate()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _again(self) -> None:
        """Reconnect, with unlimited retries."""
        backoff, tries = Backoff(_PAUSES), 0
        while True:
            await backoff.wait()
            try:
                await self._listen()
                return
            except Exception as error:  # noqa: BLE001 - it is logged, and it must go on
                tries += 1
                if tries == _PATIENT_TRIES:
                    self._warn(error)
                if tries >= _PATIENT_TRIES:
                    self._notifier.everybody()

    async def _watch(self) -> None:
        """Return once the connection is lost, or fails the check."""
        while self._connection and not self._lost.is_set():
            try:
                async with asyncio.timeout(self._check_seconds):
                    await self._lost.wait()
            except TimeoutError:
                try:
                    await self._check(self._connection)
                except Exception as error:  # noqa: BLE001 - it is logged, and it must go on
                    self._warn(error)
                    return
        _log.info("%s: the connection for notifications was lost", self._name)

    async def _check(self, connection: Connection) -> None:
        self._echo.clear()
        probe = f"{_CHECK} {self._sender}"
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, probe, timeout=_ECHO_SECONDS)
        try:
            async with asyncio.timeout(_ECHO_SECONDS):
                await self._echo.wait()
        except TimeoutError:
            raise self._deaf() from None

    def _deaf(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self._name} delivers no notifications: a connection pooler in transaction mode does"
            " not forward them. Connect to PostgreSQL directly, or use session pooling (PgBouncer:"
            " pool_mode=session)."
        )

    def _on_notice(self, _: Any, __: int, ___: str, payload: Any) -> None:
        if payload == f"{_CHECK} {self._sender}":
            self._echo.set()
        notice = decode(payload)
        if notice is None or notice.sender == self._sender:
            return
        if notice.last_seq is None:
            self._notifier.changed(notice.uid)
        else:
            self._notifier.appended(notice.uid, notice.last_seq)

    def _on_lost(self, connection: Any) -> None:
        if connection is self._connection:
            self._lost.set()

    def _warn(self, error: Exception) -> None:
        why = explain(self._name, error) or repr(error)
        _log.warning("notifications of other MCP servers are delayed: %s", why)
