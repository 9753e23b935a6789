"""Lets the state machine walk through random worlds, all of them given by one seed.

PYTHONPATH=tests python -m proof.walk --seed 1 --worlds 8
"""

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from scratch import scratch_directory

from proof.machine import Billing
from proof.site import Site, site

STEPS_PER_WORLD = 80


def walk(at: Site, number: int, worlds: int, steps: int, *, shrink: bool) -> Counter[str]:
    """Walks through as many worlds and gives what was done.

    Raises:
        AssertionError: something does not hold; hypothesis prints the steps that led there.
    """

    class Walk(Billing):
        """A class of its own: hypothesis notes the seed on it."""

    Walk.site = at
    Walk.done = Counter()
    run_state_machine_as_test(
        seed(number)(Walk),
        settings=settings(
            max_examples=worlds,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
    return Walk.done


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="proof.walk", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=STEPS_PER_WORLD, help="of each world")
    parser.add_argument("--shrink", action="store_true", help="looks for a shorter failure")
    chosen = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # thousands of refusals and findings are meant to be
    started = time.monotonic()
    with scratch_directory() as directory, site(directory) as at:
        done = walk(at, chosen.seed, chosen.worlds, chosen.steps, shrink=chosen.shrink)
    seconds = round(time.monotonic() - started)
    result = {"seed": chosen.seed, "done": dict(sorted(done.items())), "seconds": seconds}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
