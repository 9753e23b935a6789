"""An example of every command, as its ``--help`` shows it; each is parsed by a test."""

from typing import Final

_HOURS: Final = "--from 2026-04-08T12 --to 2026-04-08T15"
_ACCOUNT: Final = "--account 4d1c1c53-5a2e-4c0e-9d55-0d7a6c0f5a11"

EXAMPLES: Final[dict[str, str]] = {
    "migrate": "",
    "collect": f"--source jp-1 {_HOURS}",
    "rate": _HOURS,
    "export": _HOURS,
    "reconcile": f"{_HOURS} --no-repair",
    "pipeline": _HOURS,
    "maintain": "--dry-run --step archive",
    "backfill": f"{_HOURS} --dry-run",
    "statement": "--day 2026-04-08 --sign",
    "usage": "--by account --from 2026-04-01T00 --limit 10",
    "explain": f"{_ACCOUNT} --hour 2026-04-08T12 --samples",
    "price list": "",
    "price preview": "prices-2026-05.json",
    "price publish": "prices-2026-05.json",
    "credit": f"{_ACCOUNT} --amount 2.50 --reason 'outage of 8 April' --preview",
    "close": "--period 2026-04 --preview",
    "erase": f"{_ACCOUNT} --reason 'request 17' --by 'data protection' --preview",
    "quarantine list": "--json",
    "quarantine replay": "--source jp-1 --preview",
    "findings list": "--all",
    "findings close": "12 --reason 'the node was replaced'",
    "status": "--json",
    "alerts": "",
    "serve": "",
    "exporter": "--store snapshots.json --listen 127.0.0.1:9000 --token t",
}


def example_of(prog: str) -> str:
    """The line that the help of a command ends with, by its name such as ``billing-etl rate``."""
    name = prog.partition(" ")[2]
    return f"example: {prog} {EXAMPLES[name]}".rstrip()
