"""Samples in; minute deltas, resets, gaps, closings and coverage out (C3-C12). Pure."""

from billing_etl.counters.coverage import Coverage, NodeCoverage, cover_hour
from billing_etl.counters.first_deltas import (
    FirstDeltas,
    FirstKind,
    FirstSamples,
    judge_first_deltas,
)
from billing_etl.counters.policy import CounterPolicy
from billing_etl.counters.samples import (
    HourSamples,
    OnBlock,
    SampleBlock,
    SampleCollector,
    StoredName,
    content_hash,
    served_hour_digest,
)
from billing_etl.counters.series import NodeKey, SeriesKey, SeriesNames, SeriesTable
from billing_etl.counters.sums import HourDeltas, LastSamples, MinuteFacts

__all__ = [
    "CounterPolicy",
    "Coverage",
    "FirstDeltas",
    "FirstKind",
    "FirstSamples",
    "HourDeltas",
    "HourSamples",
    "LastSamples",
    "MinuteFacts",
    "NodeCoverage",
    "NodeKey",
    "OnBlock",
    "SampleBlock",
    "SampleCollector",
    "SeriesKey",
    "SeriesNames",
    "SeriesTable",
    "StoredName",
    "content_hash",
    "cover_hour",
    "judge_first_deltas",
    "served_hour_digest",
]
