"""billing_etl turns nodes' cumulative counters into money that can be defended.

An hour is a pure function of the snapshots served for it, the closings before it, the source
settings and the price book; every run of an hour leaves exactly that state.
"""

__version__ = "0.1.0"
