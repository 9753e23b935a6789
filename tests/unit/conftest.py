"""Properties are checked on the same examples every time, without a clock."""

from hypothesis import settings

settings.register_profile("same_every_time", deadline=None, database=None, derandomize=True)
settings.load_profile("same_every_time")
