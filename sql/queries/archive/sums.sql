-- Purpose:    sums over the facts of some minutes, and a digest over every one of them in order of minute and series.
-- Grain:      one row.
-- Parameters: from_minute int, until_minute int (exclusive)
select
    count(*) as facts,
    coalesce(sum(fact.uplink_quantity), 0)::numeric as uplink,
    coalesce(sum(fact.downlink_quantity), 0)::numeric as downlink,
    coalesce(sum(fact.included_quantity), 0)::numeric as included,
    coalesce(
        sum((fact.uplink_quantity + fact.downlink_quantity - fact.included_quantity) * rate.amount_per_unit), 0
    ) as amount,
    sha256(
        coalesce(
            string_agg(
                int4send(fact.series_id) || int4send(fact.minute) || int8send(fact.uplink_quantity)
                || int8send(fact.downlink_quantity) || int8send(fact.included_quantity) || int4send(fact.rate_id)
                || int4send(fact.spans_minutes) || int2send(fact.revision) || int2send(fact.sealing)
                || boolsend(fact.is_reset),
                ''::bytea order by fact.minute, fact.series_id
            ), ''::bytea
        )
    ) as facts_sha256
from billing_core.facts as fact
left join billing_core.rates as rate using (rate_id)
where fact.minute >= %(from_minute)s and fact.minute < %(until_minute)s
