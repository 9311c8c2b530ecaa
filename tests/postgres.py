"""A real PostgreSQL server in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

USER = "nnstudy"


class PostgresServer:
    """A server on 127.0.0.1 that can be stopped, crashed and started again.

    Passwords are checked, and the one of this server is new each time, so that a test can
    look for it where it must not be.
    """

    def __init__(self, bindir: Path, directory: Path) -> None:
        self.password = f"pw-{secrets.token_hex(8)}"
        self.port = _free_port()
        self._bindir = bindir
        self._directory = directory
        self._account = _unprivileged_account()
        if self._account:
            shutil.chown(directory, self._account)
        self._initialise()
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database and returns its URL."""
        name = f"db_{secrets.token_hex(6)}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, name)
        return self.url(name)

    def start(self) -> None:
        options = (
            f"-p {self.port} -k {self._directory} -c listen_addresses=127.0.0.1"
            # Crashes of the process lose nothing without it, and a test outlives no power cut.
            " -c fsync=off -c max_connections=200"
        )
        self._pg_ctl("start", "-w", "-l", str(self._directory / "log"), "-o", options)

    def stop(self) -> None:
        self._pg_ctl("stop", "-w", "-m", "fast")

    def crash(self) -> None:
        self._pg_ctl("stop", "-w", "-m", "immediate")

    def log(self) -> str:
        return (self._directory / "log").read_text()

    def _initialise(self) -> None:
        password_file = self._directory / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o644)
        self._run(
            "initdb",
            *("-D", str(self._data), "-U", USER, "--pwfile", str(password_file)),
            *("-A", "scram-sha-256", "-E", "UTF8", "--no-sync"),
        )

    def _pg_ctl(self, command: str, *arguments: str) -> None:
        self._run("pg_ctl", command, "-D", str(self._data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        # Output goes to a file: a pipe would stay open as long as the server lives.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self._bindir / program), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._directory,
                env={**os.environ, "PGPASSWORD": self.password, "LC_ALL": "C.UTF-8"},
                user=self._account,
                group=pwd.getpwnam(self._account).pw_gid if self._account else None,
                extra_groups=[] if self._account else None,
                timeout=60,
                check=False,
            )
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program}: {output.read().decode(errors='replace')}")

    @property
    def _data(self) -> Path:
        return self._directory / "data"


def missing_postgres() -> str | None:
    """Says why no server can be started here, or None."""
    if _bindir() is None:
        return "PostgreSQL's initdb was not found (pg_config --bindir)"
    try:
        _unprivileged_account()
    except KeyError:
        return "PostgreSQL does not run as root, and there is neither a user postgres nor nobody"
    return None


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Runs a server and removes all of it afterwards."""
    bindir = _bindir()
    if bindir is None:
        raise RuntimeError("PostgreSQL is not installed")
    # Not pytest's tmp_path: other users may not enter it, and a socket's path must be short.
    directory = Path(tempfile.mkdtemp(prefix="nnstudy-pg-"))
    try:
        server = PostgresServer(bindir, directory)
        try:
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # a test may have stopped it
                server.crash()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _bindir() -> Path | None:
    candidates: list[Path] = []
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        candidates.append(Path(told.stdout.strip()))
    if initdb := shutil.which("initdb"):
        candidates.append(Path(initdb).parent)
    return next((path for path in candidates if (path / "initdb").exists()), None)


def _unprivileged_account() -> str | None:
    """The account to run the server as: None is our own, which will do unless it is root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise KeyError("postgres")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
