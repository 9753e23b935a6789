-- Purpose: remembers at which look-back snapshots a series was served but could not be used. That is presence (C7) also
--          when the hour that looked back is judged again (C14), or the exporter has forgotten it by then.
-- Grain:   sample. hour is the sample's own.

create table billing_core.lookback_presence (
    node_key int not null,
    hour int not null,
    instant_ns bigint not null,
    account_uuid text not null,
    inbound_tag text not null
);
create index lookback_presence_node on billing_core.lookback_presence (node_key, hour);
comment on table billing_core.lookback_presence is
    'Quarantined samples of look-back, kept as long as its provisional closings (C4, C7). They are quarantined themselves when their own hour is collected.';
