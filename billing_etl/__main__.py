"""``python -m billing_etl`` is ``billing-etl``."""

import sys

from billing_etl.cli import main

sys.exit(main())
