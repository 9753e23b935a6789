"""Samples in; minute deltas, resets, gaps, closings and coverage out (C3-C12). Pure."""

from billing_etl.counters.coverage import Coverage, NodeCoverage, cover_hour
from billing_etl.counters.first_deltas import (
    FirstDeltas,
    FirstKind,
    FirstSamples,
    judge_first_deltas,
)
from billing_etl.counters.policy import CounterPolicy
from billing_etl.counters.samples import HourSamples, SampleCollector, served_hour_digest
from billing_etl.counters.sums import HourDeltas, MinuteFacts

__all__ = [
    "CounterPolicy",
    "Coverage",
    "FirstDeltas",
    "FirstKind",
    "FirstSamples",
    "HourDeltas",
    "HourSamples",
    "MinuteFacts",
    "NodeCoverage",
    "SampleCollector",
    "cover_hour",
    "judge_first_deltas",
    "served_hour_digest",
]
