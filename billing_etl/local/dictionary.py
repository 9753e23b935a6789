"""Writes ``docs/data-dictionary.md`` from the comments of a new database: ``make dictionary``."""

import sys
import tempfile
from pathlib import Path
from typing import Final

from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.store.database import connect
from billing_etl.store.dictionary import as_markdown, columns
from billing_etl.store.migrations import migrate

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs/data-dictionary.md"


def main() -> None:
    """Starts a PostgreSQL of its own, so that nothing but the committed ``sql/`` is described."""
    with tempfile.TemporaryDirectory(prefix="billing-etl-") as name:
        Path(name).chmod(0o711)  # as root the server runs as another user
        server = EmbeddedPostgres(Path(name) / "postgres")
        try:
            server.start()
            server.create_database("dictionary")
            url = server.url("dictionary")
            migrate(url)
            with connect(url) as connection:
                text = as_markdown(columns(connection))
        finally:
            server.remove()
    DOCUMENT.write_text(text, encoding="utf-8")
    sys.stdout.write(f"written: {DOCUMENT}\n")


if __name__ == "__main__":
    main()
