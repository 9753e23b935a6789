"""The audit of packages tells what it found, and never calls clean what it could not ask for."""

from pathlib import Path
from typing import Any

import pytest

from billing_etl.local import audit

ROOT = Path(__file__).resolve().parents[1]
CLEAN = {"name": "good", "version": "1.0", "vulns": []}
BAD = {
    "name": "bad",
    "version": "2.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"], "aliases": [], "description": "d"},
        {"id": "PYSEC-2", "fix_versions": [], "aliases": [], "description": "d"},
    ],
}
UNKNOWN = {"name": "own", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("told", "lines", "code"),
    [
        pytest.param([CLEAN], ["audit: 1 packages, 0 known vulnerabilities"], 0, id="clean"),
        pytest.param(
            [CLEAN, BAD],
            [
                "audit: bad 2.0: PYSEC-1, fixed in 2.1, 3.0",
                "audit: bad 2.0: PYSEC-2, fixed in no version yet",
                "audit: 2 packages, 2 known vulnerabilities",
            ],
            1,
            id="vulnerable",
        ),
        pytest.param(
            [CLEAN, UNKNOWN],
            ["audit: 1 packages, 0 known vulnerabilities; 1 more could not be asked for"],
            0,
            id="partly unknown",
        ),
    ],
)
def test_what_is_told_of_each_package(told: list[Any], lines: list[str], code: int) -> None:
    assert audit.judge(told) == (lines, code)


@pytest.mark.parametrize("told", [[], [UNKNOWN]])
def test_what_could_not_be_asked_is_not_clean(told: list[Any]) -> None:
    (line,), code = audit.judge(told)
    assert (line.startswith("audit: not done:"), code) == (True, 0)


def test_an_index_that_is_not_reached_is_one_line_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path))
    assert audit.main(ROOT / "requirements.txt") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("audit: not done: the package index cannot be reached")
    assert (printed.out.count("\n"), printed.err) == (1, "")


def test_ci_audits_and_tests() -> None:
    steps = (ROOT / ".ci/run").read_text()
    assert "make audit" in steps
    assert "make test" in steps
