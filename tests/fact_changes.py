"""Two changes of one fact: its first sealing, and a correction."""

from dataclasses import replace

from billing_rows import ACCOUNT, HOUR

from billing_etl.events import FactChange

FIRST = FactChange(
    source_id="jp-1",
    env="prod",
    node_id="node-1",
    account_uuid=ACCOUNT,
    inbound_tag="tcp",
    event_type="traffic_bytes",
    unit="byte",
    resource_type="account",
    region="tokyo",
    minute=HOUR.first_minute + 2,
    uplink_change=30,
    downlink_change=70,
    uplink_total=30,
    downlink_total=70,
    revision=1,
    corrects=None,
)
CORRECTION = replace(
    FIRST,
    uplink_change=-10,
    downlink_change=5,
    uplink_total=20,
    downlink_total=75,
    revision=2,
    corrects=1,
)
