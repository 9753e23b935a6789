"""Random worlds, collected in any order, end in exactly what the independent oracle computes."""

import random
import time
from pathlib import Path

import pytest
from oracle.worlds import random_world

from pipeline.world_harness import (
    Found,
    adapted,
    assert_billed,
    assert_collected,
    engine_of,
    expected,
    run_in_random_order,
    served,
)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_ends_in_what_the_oracle_computes(
    seed: int, database_url: str, tmp_path: Path
) -> None:
    world = adapted(random_world(seed))
    with served(world, tmp_path) as sources:
        engine = engine_of(world, sources, database_url)
        run_in_random_order(engine, world, random.Random(seed))
    result, found = expected(world, time.time_ns()), Found(database_url)

    assert_collected(result, found)
    assert_billed(result, found)
