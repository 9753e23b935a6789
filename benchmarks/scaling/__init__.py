"""``python -m benchmarks.scaling``: what ten thousand sources would need, from measured costs.

``--measure`` measures the unit costs with the real code and stores them, ``--check`` holds the
model against real runs; without either, the model runs with the stored costs. The plan that comes
of it is ``docs/scaling.md``.
"""
