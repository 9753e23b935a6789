#!/usr/bin/env bash
# Makes .venv with exactly what the locks pin, hashes checked. Called by make; PYTHON names the interpreter.
#
# uv does it in seconds. Where uv cannot reach an index that pip is configured for, pip does the
# same from the same lock. UV_CACHE_DIR and PIP_CACHE_DIR place the caches, as usual; without
# UV_CACHE_DIR but with PIP_CACHE_DIR, uv's cache goes beside pip's.
set -euo pipefail
cd "$(dirname "$0")"
venv=.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1
if [ -z "${UV_CACHE_DIR:-}" ] && [ -n "${PIP_CACHE_DIR:-}" ]; then
    export UV_CACHE_DIR="$PIP_CACHE_DIR/uv"
fi
rm -rf "$venv"
"${PYTHON:-python3.11}" -m venv "$venv"
"$venv/bin/pip" install --quiet --require-hashes --no-deps -r requirements-uv.txt
if ! "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes -r requirements.txt; then
    echo "install: uv could not install the lock, trying pip" >&2
    # The lock is complete: without resolving again, pip takes half the time.
    "$venv/bin/pip" install --quiet --require-hashes --no-deps -r requirements.txt
fi
# The project itself: importable from the checkout, with its command; no build, no network.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pwd > "$site/billing_etl.pth"
cat > "$venv/bin/billing-etl" <<EOF
#!$PWD/$venv/bin/python
import sys

from billing_etl.cli import main

sys.exit(main())
EOF
chmod +x "$venv/bin/billing-etl"
