"""One step of delivery in a process of its own, so that no step inherits what another has warmed.

``python -m benchmarks.delivery_worker STEP HOUR`` takes its settings from the environment and
prints what the step took, as one line of JSON. ``seal`` seals the hour, ``send`` delivers what is
sealed as the export does, ``bare`` puts the same payloads to other keys with the same client and
as many threads, and does nothing else: the payloads are in memory before it begins.
"""

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from benchmarks.worker import peak_bytes
from billing_etl.batches import decompress
from billing_etl.delivery import configured_bucket, object_store_from
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.seal import Sealing, seal
from billing_etl.pipeline.send import CONTENT_TYPES
from billing_etl.settings import Settings
from billing_etl.store import deliveries

BARE_PREFIX: Final = "bare/"
_PAYLOADS: Final = """
select bucket, object_key, kind, sha256, payload from billing_core.batches
where hour = %s order by sealing, kind, ordinal
"""


def _seal(engine: Engine, hour: Hour) -> float:
    with engine.connect() as connection:
        (meter,) = deliveries.meters(connection)
        sealing = Sealing(engine.settings, connection, configured_bucket(engine.settings), 0)
        started = time.perf_counter()
        seal(sealing, hour, meter)
        connection.commit()
        return time.perf_counter() - started


def _send(engine: Engine, hour: Hour) -> float:
    started = time.perf_counter()
    deliver_hours(engine, HourRange.single(hour))
    return time.perf_counter() - started


def _bare(engine: Engine, hour: Hour) -> float:
    with engine.connect() as connection, connection.cursor(binary=True) as cursor:
        rows = cursor.execute(_PAYLOADS.encode(), (hour.index,)).fetchall()
    puts = [
        {
            "Bucket": bucket,
            "Key": BARE_PREFIX + key,
            "Body": decompress(payload),
            "ChecksumSHA256": base64.b64encode(sha256).decode(),
            "ContentType": CONTENT_TYPES[kind],
            "IfNoneMatch": "*",
        }
        for bucket, key, kind, sha256, payload in rows
    ]
    started = time.perf_counter()
    client = object_store_from(engine.settings).client
    with ThreadPoolExecutor(engine.settings.s3_concurrency) as pool:
        for _ in pool.map(lambda arguments: client.put_object(**arguments), puts):
            pass
    return time.perf_counter() - started


_STEPS: Final[dict[str, Callable[[Engine, Hour], float]]] = {
    "seal": _seal,
    "send": _send,
    "bare": _bare,
}


def main() -> None:
    step, hour = sys.argv[1:]
    engine = Engine(Settings.from_environment(os.environ))
    cpu_before = time.process_time()
    seconds = _STEPS[step](engine, parse_hour(hour))
    took: dict[str, Any] = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_before,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main()
