"""One account's bill followed down: period, ledger, rated minutes, facts, counters, samples."""

from billing_etl.pipeline.explain.bills import HourBill, PeriodBill, explain_hour, explain_period

__all__ = ["HourBill", "PeriodBill", "explain_hour", "explain_period"]
