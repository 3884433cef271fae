"""
A temporary PostgreSQL server with its own folder and a port on the loopback interface.

It is Debian's package, run as the user that the package creates, because PostgreSQL refuses to run
as root. It ends with the process that started it.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev import tools
from dev.shell import DevError, run, wait_until

USER = "agentrun"
PASSWORD = "s3cret-passw0rd"
_RUN_AS = "postgres"
_START_SECONDS = 60.0


class PostgresServer:
    """A server that can be stopped and restarted."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self._folder = folder
        self._settings = settings
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def sql(self, command: str, database: str = "postgres") -> str:
        """Run SQL as the server's superuser and return its output."""
        psql = [program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return run([*psql, "-d", self.url(database), "-c", command]).strip()

    def create(self) -> None:
        """Initialize the server's data folder."""
        secret = self._folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        _own(self._folder)
        _own(secret)
        initdb = [program("initdb"), "-D", self._data, "-U", USER, "-A", "scram-sha-256"]
        run(
            [
                *_unprivileged(),
                *initdb,
                f"--pwfile={secret}",
                "-E",
                "UTF8",
                "-N",
                "--locale=C.UTF-8",
            ]
        )

    def start(self) -> None:
        """Start the server from a long-lived thread, and wait until it accepts connections."""
        with (self._folder / "log").open("ab") as log:
            settings = [f"port={self.port}", "listen_addresses=127.0.0.1", *self._settings]
            settings += [f"unix_socket_directories={self._folder}"]
            flags = [word for setting in settings for word in ("-c", setting)]
            self._process = subprocess.Popen(
                [*_unprivileged(), program("postgres"), "-D", self._data, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until("PostgreSQL takes connections", lambda: self._is_up(ready), _START_SECONDS)

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server, cleanly or as in a crash. Connections are closed either way."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait()
            self._process = None

    def restart(self, *, crash: bool = False) -> None:
        """Stop the server and start it again."""
        self.stop(crash=crash)
        self.start()

    @property
    def log(self) -> str:
        """The server's log."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _is_up(self, ready: Sequence[object]) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise DevError(f"PostgreSQL has ended:\n{self.log[-2000:]}")
        return subprocess.run([str(word) for word in ready], check=False).returncode == 0


@contextmanager
def running(*settings: str) -> Iterator[PostgresServer]:
    """Run a server with ``settings`` of postgresql.conf for the duration of the block."""
    tools.install_packages(tools.POSTGRESQL)
    folder = Path(tempfile.mkdtemp(prefix="agentrun-postgres-"))
    server = PostgresServer(folder, settings)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop(crash=True)
        shutil.rmtree(folder)


@contextmanager
def pooler(server: PostgresServer, database: str, mode: str) -> Iterator[str]:
    """Run PgBouncer in front of a database, and yield its URL."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="agentrun-pgbouncer-") as name:
        folder = Path(name)
        users, config = folder / "users", folder / "pgbouncer.ini"
        users.write_text(f'"{USER}" "{PASSWORD}"\n', encoding="utf-8")
        config.write_text(
            f"[databases]\n{database} = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
            f"listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n"
            f"auth_type=scram-sha-256\nauth_file={users}\npool_mode={mode}\n",
            encoding="utf-8",
        )
        for path in (folder, users, config):
            _own(path)
        process = subprocess.Popen(
            [*_unprivileged(), "pgbouncer", "-q", str(config)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until("PgBouncer takes connections", lambda: _is_taken(port), _START_SECONDS)
            yield server.url(database).replace(f":{server.port}/", f":{port}/")
        finally:
            process.terminate()
            process.wait()


def program(name: str) -> str:
    """Return the path of a PostgreSQL program. Raises DevError if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        raise DevError(f"PostgreSQL's {name} is not installed")
    return str(found[-1])


def _unprivileged() -> list[str]:
    # The kernel sends the signal when the starting thread ends, not only when its process does.
    command = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        user = pwd.getpwnam(_RUN_AS)
        command += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return command


def _own(path: Path) -> None:
    if os.geteuid() == 0:
        user = pwd.getpwnam(_RUN_AS)
        os.chown(path, user.pw_uid, user.pw_gid)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
