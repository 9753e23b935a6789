"""Nothing that was started lives on: after a stop, its own end, or SIGKILL of its owner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from billing_etl.local.processes import Account, ManagedProcess, free_ports, is_free

SOON_SECONDS = 15
# A child, one in a session of its own that ignores SIGTERM, and an orphan, all named by argument.
FAMILY = """
sleep "$1" &
setsid sh -c 'trap "" TERM; sleep "$0"; sleep "$0"' "$1" &
(setsid sleep "$1" &)
echo started
wait
"""
OWNER = """
import sys, time
from pathlib import Path
from billing_etl.local.processes import ManagedProcess
ManagedProcess(["sh", "-c", *sys.argv[2:]], log=Path(sys.argv[1]))
print("owner", flush=True)
time.sleep(600)
"""


@pytest.fixture
def mark() -> str:
    """A number of seconds that only the processes of one test sleep for."""
    return f"{600 + time.time_ns() % 10**9 / 10**9:.9f}"


def sleepers(mark: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "name"])
        if process.info["name"] == "sleep" and mark in (process.info["cmdline"] or ())
    ]


def family(log: Path, mark: str, **options: float) -> ManagedProcess:
    return ManagedProcess(["sh", "-c", FAMILY, "family", mark], log=log, **options)  # type: ignore[arg-type]


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    with ManagedProcess(["sh", "-c", "echo out; echo err >&2; exit 3"], log=log) as process:
        assert process.wait(SOON_SECONDS) == 3
    assert log.read_text() == "out\nerr\n"


def test_the_environment_is_the_given_one(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    environment = {"PATH": os.defpath, "GIVEN": "1"}
    with ManagedProcess(["env"], log=log, environment=environment) as process:
        assert process.wait(SOON_SECONDS) == 0
    names = {line.split("=")[0] for line in log.read_text().splitlines()}
    assert "GIVEN" in names
    assert "HOME" not in names


def test_stop_ends_the_whole_family(tmp_path: Path, mark: str) -> None:
    with family(tmp_path / "log", mark, grace_seconds=1):
        wait_until(lambda: len(sleepers(mark)) == 3, SOON_SECONDS)
    assert sleepers(mark) == []


def test_stop_lets_the_command_end_in_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", "trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.05; done"]
    process = ManagedProcess(command, log=log, stop_signal=signal.SIGINT)
    wait_until(lambda: "ready" in log.read_text(), SOON_SECONDS)
    process.stop()
    assert process.exit_code == 0
    assert log.read_text() == "ready\nbye\n"


def test_what_does_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]
    process = ManagedProcess(command, log=log, grace_seconds=0.2)
    wait_until(lambda: "ready" in log.read_text(), SOON_SECONDS)
    process.stop()
    assert process.exit_code == 128 + signal.SIGKILL


def test_stopping_twice_and_after_the_end_is_harmless(tmp_path: Path) -> None:
    process = ManagedProcess(["true"], log=tmp_path / "log")
    assert process.wait(SOON_SECONDS) == 0
    process.stop()
    process.stop()
    assert process.exit_code == 0


def test_the_rest_of_a_family_goes_when_its_head_ends(tmp_path: Path, mark: str) -> None:
    script = FAMILY.replace("wait", "")
    with ManagedProcess(["sh", "-c", script, "family", mark], log=tmp_path / "log") as process:
        assert process.wait(SOON_SECONDS) == 0
        assert sleepers(mark) == []


def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path, mark: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path / "log", FAMILY, "family", mark],
        stdout=subprocess.PIPE,
    )
    wait_until(lambda: len(sleepers(mark)) == 3, SOON_SECONDS)
    owner.kill()
    owner.wait()
    wait_until(lambda: sleepers(mark) == [], SOON_SECONDS)


def test_the_command_dies_with_a_guardian_that_is_killed(tmp_path: Path, mark: str) -> None:
    process = ManagedProcess(["sleep", mark], log=tmp_path / "log")
    wait_until(lambda: len(sleepers(mark)) == 1, SOON_SECONDS)
    guardian = sleepers(mark)[0].parent()
    assert guardian is not None
    guardian.kill()
    wait_until(lambda: sleepers(mark) == [], SOON_SECONDS)
    process.stop()


def test_a_fork_of_the_owner_does_not_keep_the_family_alive(tmp_path: Path, mark: str) -> None:
    # The fork holds the owner's end of the pipe open.
    forking = OWNER.replace("time.sleep(600)", "import os; os.fork(); time.sleep(600)")
    owner = subprocess.Popen(
        [sys.executable, "-c", forking, tmp_path / "log", FAMILY, "family", mark],
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(psutil.Process(owner.pid).children()) == 2, SOON_SECONDS)
        wait_until(lambda: len(sleepers(mark)) == 3, SOON_SECONDS)
        owner.kill()
        owner.wait()
        wait_until(lambda: sleepers(mark) == [], SOON_SECONDS)
    finally:
        os.killpg(owner.pid, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes as another user")
def test_root_can_start_a_process_as_another_user(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ManagedProcess(
        ["sh", "-c", "id -u; id -g; id -G"],
        log=log,
        directory=Path("/"),
        account=Account(65534, 65533),
    ) as process:
        assert process.wait(SOON_SECONDS) == 0
    assert log.read_text().split() == ["65534", "65533", "65533"]


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)
