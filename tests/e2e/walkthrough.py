"""The commands of docs/walkthrough.md, and what it shows of their answers."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENT: Final = ROOT / "docs" / "walkthrough.md"

_STEP: Final = re.compile(r"^## (\d)\. .+$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run, in the order in which it is looked for.
_VARYING: Final = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{8}…"), "UUID…"),
    (re.compile(r"[-+]?\d[\d.,]*"), "N"),
    (re.compile(r"\b(?:k|M|G)?B\b"), "B"),
    (re.compile(r"[█▏▎▍▌▋▊▉]+"), "▌"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Block:
    """Commands, and the lines that the document shows of what they print."""

    step: int
    commands: str
    shown: list[str]


def blocks() -> list[Block]:
    """Every block of commands in the order of the document."""
    return list(_blocks(DOCUMENT.read_text("utf-8")))


def _blocks(text: str) -> Iterator[Block]:
    parts = _STEP.split(text)[1:]
    for step, body in zip(parts[::2], parts[1::2], strict=True):
        commands: str | None = None
        for kind, content in _BLOCK.findall(body):
            if kind == "sh":
                if commands is not None:
                    yield Block(int(step), commands, [])
                commands = content
            elif commands is not None:
                yield Block(int(step), commands, content.splitlines())
                commands = None
        if commands is not None:
            yield Block(int(step), commands, [])


def alike(line: str) -> str:
    """A line without what differs from run to run: numbers, names of accounts, widths."""
    for pattern, replacement in _VARYING:
        line = pattern.sub(replacement, line)
    return line.strip()


def missing(shown: list[str], printed: str) -> list[str]:
    """Lines of the document that were not printed in their order; ``...`` leaves some out."""
    left = iter([alike(line) for line in printed.splitlines()])
    wanted = [alike(line) for line in shown if line.strip() not in {"", "..."}]
    return [line for line in wanted if line not in left]


@dataclass(frozen=True)
class Shell:
    """A second terminal in the directory of a development run.

    Attributes:
        directory: of the run.
        environment: what the terminal has, beyond what ``.data/env`` adds.
    """

    directory: Path
    environment: Mapping[str, str]

    def run(self, commands: str) -> "subprocess.CompletedProcess[str]":
        """Runs commands as they stand, in a shell that has read ``.data/env``."""
        return subprocess.run(
            ["bash", "-c", f"set -uo pipefail\n. .data/env\n{commands}"],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
