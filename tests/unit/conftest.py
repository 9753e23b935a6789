"""Properties are checked on the same examples every time, without a clock."""

import os

from hypothesis import Phase, settings

settings.register_profile("same_every_time", deadline=None, database=None, derandomize=True)
# Under `make mutate` the first example that fails is enough; a smaller one is not looked for.
settings.register_profile(
    "mutation", settings.get_profile("same_every_time"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("mutation" if "MUTANT_UNDER_TEST" in os.environ else "same_every_time")
