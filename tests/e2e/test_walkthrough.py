"""The five steps of docs/walkthrough.md by a person who has only the documents.

Every command is taken from the document and run as it stands, in a shell beside a real `make run`
in a directory of its own; what the document shows of an answer must be in the answer. Its clicks
are done in a browser, whose pictures are those of the documents (`make screenshots`). Without
Chromium these tests are skipped, and the terminal repairs what the page would have.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from e2e.walkthrough import Block, Shell, blocks, missing
from page import chromium
from page.chromium import keep_screenshot
from page.in_airflow import (
    SIZE,
    failed_cells,
    log_in,
    open_failed_log,
    open_page,
    use_dark_theme,
)
from playwright.sync_api import Browser, FrameLocator, Page, expect
from scratch import scratch_directory
from waiting import wait_until

from billing_etl.settings import SETTINGS

pytestmark = pytest.mark.e2e

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS: Final = 1800
# Width of the terminal that the document shows, and no run of the next hour amid the test when a
# full hour strikes.
ENVIRONMENT: Final = {"COLUMNS": "110", "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "false"}
BROKEN: Final = "demo-berlin"
SAID: Final = "expected an answer, got status 500"
PRICE: Final = Decimal("0.00000002")


@dataclass
class Walk:
    """`make run` as it stays until Ctrl-C, and a second terminal beside it."""

    directory: Path
    shell: Shell
    output: str
    url: str
    password: str
    left: list[Block] = field(default_factory=lambda: blocks()[1:])

    def step(self, number: int) -> Iterator[tuple[Block, str]]:
        """Runs what is left of a step block by block; each must print what the document shows."""
        for block in [block for block in self.left if block.step == number]:
            self.left.remove(block)
            yield block, self.answer(block)

    def answer(self, block: Block) -> str:
        ran = self.shell.run(block.commands)
        printed = ran.stdout + ran.stderr
        assert missing(block.shown, printed) == [], printed
        return printed

    def json(self, command: str, code: int = 0) -> Any:
        """The document that a command of the project prints."""
        ran = self.shell.run(f"{command} --json")
        assert ran.returncode == code, ran.stderr
        return json.loads(ran.stdout)

    def hour(self) -> str:
        return self.shell.run('echo "$DEMO_HOUR"').stdout.strip()

    def billed(self) -> dict[str, Any]:
        """What is billed since the hour of the walk, in all and by hour."""
        document = self.json('billing-etl usage --by hour --from "$DEMO_HOUR"')
        return {"total": document["total"]} | {row["hour"]: row for row in document["rows"]}


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    """A checkout without data, in which the first command of the document is run."""
    first = blocks()[0]
    assert first.commands == "make run\n"
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment = inherited | ENVIRONMENT
    with ExitStack() as stack:
        directory = stack.enter_context(scratch_directory())
        for path in ROOT.iterdir():
            if path.name != ".data":
                (directory / path.name).symlink_to(path)
        log = (directory / "make-run.log").open("w+")
        running = subprocess.Popen(
            ["bash", "-c", f"exec {first.commands}"],
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(_interrupt, running)

        def printed() -> str:
            return Path(log.name).read_text("utf-8")

        wait_until(
            lambda: running.poll() is not None or "Running until Ctrl-C." in printed(),
            PATIENCE_SECONDS,
            2,
        )
        output = printed()
        assert running.poll() is None, output
        assert missing(first.shown, output) == [], output
        access = re.search(r"^Airflow +(\S+) +login admin / (\S+)$", output, re.MULTILINE)
        assert access is not None
        yield Walk(directory, Shell(directory, environment), output, access[1], access[2])


@pytest.fixture(scope="module")
def billed_while_red(walk: Walk) -> dict[str, Any]:
    return walk.billed()


def _interrupt(running: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C, as the terminal gives it to make and to what it runs."""
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGINT)
        running.wait(120)


def test_1_run_it(walk: Walk) -> None:
    for _ in walk.step(1):
        pass
    clean = re.findall(r"^│ (\w+) +│ +3 │ +clean │", walk.output, re.MULTILINE)
    assert len(clean) == 6
    assert oct((walk.directory / ".data/env").stat().st_mode & 0o777) == "0o600"


def test_2_find_why_an_hour_is_red(walk: Walk) -> None:
    before = walk.billed()
    steps = walk.step(2)
    next(steps)  # the exporter refuses, and Airflow collects the hour

    def error() -> str:
        sources = walk.json("billing-etl status")["sources"]
        (found,) = [row["last_error"] for row in sources if row["source_id"] == BROKEN]
        return str(found or "")

    wait_until(error, PATIENCE_SECONDS, 2)
    for _ in steps:
        pass
    said = error()
    hour = walk.hour()
    # Source, window, expected, got, remedy.
    assert f"source {BROKEN}, window [{hour}:00:00Z, " in said
    assert SAID in said
    assert said.endswith("check that the exporter is up and reachable, then run again")
    # The log of the failed task says the same.
    logs = (walk.directory / ".data/airflow/logs").glob("dag_id=collect_and_rate/**/*.log")
    assert any(said in path.read_text("utf-8") for path in logs)
    # The other source of the hour is collected and rated.
    assert hour not in before
    after = walk.billed()
    assert after[hour]["unrated_bytes"] == 0 < after[hour]["total_bytes"]


def open_red_cell(page: Page) -> FrameLocator:
    frame = open_page(page)
    expect(failed_cells(frame, BROKEN)).to_have_count(1)
    failed_cells(frame, BROKEN).click()
    expect(frame.locator("#details .failure")).to_contain_text(SAID)
    return frame


def test_2_find_why_by_two_clicks(browser: Browser, walk: Walk) -> None:
    with chromium.opened(browser, *SIZE) as page:
        log_in(page, walk.url, "admin", walk.password)
        frame = open_red_cell(page)
        keep_screenshot(page, "billing-red")
        open_failed_log(page, frame, SAID)
        use_dark_theme(page)
        open_red_cell(page)
        keep_screenshot(page, "billing-dark")


def test_3_repair_it_by_three_clicks(
    browser: Browser, walk: Walk, billed_while_red: dict[str, Any]
) -> None:
    with chromium.opened(browser, *SIZE) as page:
        log_in(page, walk.url, "admin", walk.password)
        frame = open_red_cell(page)
        next(walk.step(3))  # the exporter is up again
        frame.get_by_role("button", name="Collect again").click()
        expect(frame.locator("#details .progress")).to_contain_text("Collected and rated:")
        # The map shows it by itself, and no failed task is left to look at.
        expect(failed_cells(frame, BROKEN)).to_have_count(0)
        expect(frame.get_by_role("link", name="Open the failed task's log")).to_have_count(0)
        keep_screenshot(page, "billing-repaired")


def test_3_repair_it(walk: Walk, billed_while_red: dict[str, Any]) -> None:
    before = billed_while_red
    for _ in walk.step(3):
        pass
    sources = walk.json("billing-etl status")["sources"]
    assert {row["last_error"] for row in sources} == {None}
    after = walk.billed()
    # By as much as the exporter served: what its counters moved within the hour.
    hour = walk.hour()
    missed = moved(walk.directory / f".data/exporters/{BROKEN}.json", hour)
    assert after[hour]["total_bytes"] - before[hour]["total_bytes"] == missed > 0
    assert after["total"]["total_bytes"] - before["total"]["total_bytes"] == missed
    assert after["total"]["unrated_bytes"] == before["total"]["unrated_bytes"] == 0
    charged = after["total"]["rated_bytes"] - before["total"]["rated_bytes"]
    amounts = [Decimal(each["total"]["amount"]) for each in (after, before)]
    assert amounts[0] - amounts[1] == charged * PRICE


def moved(store: Path, hour: str) -> int:
    """Bytes by which the counters of a source without restarts moved within an hour."""
    totals: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for snapshot in json.loads(store.read_text("utf-8")):
        for each in snapshot["samples"]:
            total = each["uplink_bytes_total"] + each["downlink_bytes_total"]
            key = (each["uuid"], each["inbound_tag"])
            totals.setdefault(key, []).append((snapshot["collected_at"], total))
    found = 0
    for readings in totals.values():
        within = [total for at, total in readings if at.startswith(hour)]
        earlier = [total for at, total in readings if at < hour]
        # An account that is born within the hour begins at zero.
        found += (within[-1] - (earlier[-1] if earlier else 0)) if within else 0
    return found


def test_4_explain_one_bill_down_to_the_samples(walk: Walk) -> None:
    for _, printed in walk.step(4):
        assert "NUMBERS DIFFER" not in printed
    hour_command = next(
        line for block in blocks() for line in block.commands.splitlines() if "--samples" in line
    )
    account = re.search(r"--account (\S+)", hour_command)
    assert account is not None
    bill = walk.json(hour_command)
    # By hand, with nothing but what is printed: readings, then minutes, then money.
    added: dict[tuple[int, str], int] = {}
    counted_from = {
        each["series_id"]: (each["uplink_from"], each["downlink_from"]) for each in bill["counters"]
    }
    for series in bill["samples"]:
        before = counted_from[series["series_id"]]
        for reading in series["readings"]:
            now = (reading["uplink_total"], reading["downlink_total"])
            fell = now[0] < before[0] or now[1] < before[1]
            up, down = now if fell else (now[0] - before[0], now[1] - before[1])
            assert (reading["uplink_bytes"], reading["downlink_bytes"]) == (up, down)
            key = (series["series_id"], reading["read_at"][:16])
            added[key] = added.get(key, 0) + up + down
            before = now
    minutes = {
        (each["series_id"], each["minute"][:16]): each["total_bytes"] for each in bill["minutes"]
    }
    assert {key: size for key, size in added.items() if size} == minutes
    left = bill["quota_bytes"] - bill["account_hour"]["used_before"]
    amount = Decimal(0)
    for each in bill["minutes"]:
        included = max(0, min(left, each["total_bytes"]))
        left -= each["total_bytes"]
        assert (each["included_bytes"], each["rated_bytes"]) == (
            included,
            each["total_bytes"] - included,
        )
        amount += each["rated_bytes"] * Decimal(each["price_of_a_byte"])
    asked = walk.shell.run(
        'psql "$DATABASE_URL" -Atc "select trim_scale(sum(amount)) from billing.ledger'
        f" where account_uuid = '{account[1]}' and hour = '$DEMO_HOUR:00Z'\""
    )
    assert Decimal(asked.stdout.strip()) == amount > 0
    assert amount == sum(Decimal(entry["amount"]) for entry in bill["entries"])


def test_5_hand_an_auditor_the_statement(walk: Walk) -> None:
    answers = [printed for _, printed in walk.step(5)]
    signed = re.search(r"^digest of all inputs ([0-9a-f]{64})$", answers[0], re.MULTILINE)
    assert signed is not None
    assert "unchanged" in answers[1]
    altered = [printed for printed in answers if "WITHOUT EXPLANATION" in printed]
    assert len(altered) == 1
    verify = 'billing-etl statement --day "${DEMO_HOUR%T*}" --verify'
    assert walk.json(f"{verify} --root {signed[1]}")["root"] == signed[1]
    assert walk.shell.run(f"{verify} --root {'0' * 64}").returncode == 1
