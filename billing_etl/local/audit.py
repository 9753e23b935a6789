"""``make audit``: known vulnerabilities of the locked packages, as the package index tells them.

pip-audit asks. It calls a package that the index does not tell about neither good nor bad, and a
lock of nothing else clean; so one package is asked for first, and what could not be asked is said.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LOCK: Final = Path("requirements.txt")
_PROBE: Final = "httpx"
_TIMEOUT_SECONDS: Final = 600


def main(lock: Path = LOCK) -> int:
    """Prints what was found; 1 when a package is known to be vulnerable, 0 also when nobody knows.

    An index that is not reached, or tells nothing, is no failure of what is audited.
    """
    pinned = next(line for line in lock.read_text().splitlines() if line.startswith(f"{_PROBE}=="))
    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory) / "requirements.txt"
        probe.write_text(pinned.removesuffix("\\").strip() + "\n")
        told = _ask(probe, "--no-deps")
    if told is None or all("skip_reason" in each for each in told):
        lines, code = judge([])
    else:
        lines, code = judge(_ask(lock, "--require-hashes") or [])
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code


def judge(told: Sequence[dict[str, Any]]) -> tuple[list[str], int]:
    """The lines to print, and the exit code, of what pip-audit tells of each package."""
    audited = [each for each in told if "skip_reason" not in each]
    if not audited:
        return [
            "audit: not done: the package index cannot be reached or tells no vulnerabilities; "
            "run `make audit` where it does"
        ], 0
    lines = [
        f"audit: {package['name']} {package['version']}: {found['id']}, "
        f"fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in audited
        for found in package["vulns"]
    ]
    unknown = len(told) - len(audited)
    lines.append(
        f"audit: {len(audited)} packages, {len(lines)} known vulnerabilities"
        + (f"; {unknown} more could not be asked for" if unknown else "")
    )
    return lines, int(len(lines) > 1)


def _ask(requirements: Path, *options: str) -> list[dict[str, Any]] | None:
    """What pip-audit tells of each package; None when it could not ask."""
    arguments = ("--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5")
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options, *arguments, "-r", str(requirements)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
        told: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError, subprocess.TimeoutExpired):
        return None
    return told


if __name__ == "__main__":
    sys.exit(main())
