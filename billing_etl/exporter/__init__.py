"""Fetches and validates pages of snapshots; the only room that talks to exporters."""

from billing_etl.exporter.client import ExporterClient, FetchReport
from billing_etl.exporter.contract import QUARANTINE_REASONS, KnownText, Page, decode_page
from billing_etl.exporter.pagination import Paginator, Question

__all__ = [
    "QUARANTINE_REASONS",
    "ExporterClient",
    "FetchReport",
    "KnownText",
    "Page",
    "Paginator",
    "Question",
    "decode_page",
]
