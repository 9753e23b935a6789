-- Purpose: something that differs whenever the price book of a source does, so that a run sees that it changed under its
-- hands. Grain: one row. Parameters: meter_id, source_id.
select (select count(*) from billing_core.price_versions where meter_id = %(meter_id)s),
       (select count(*) from billing_core.plan_members),
       (select coalesce(md5(string_agg(row (r.*)::text, ',' order by r.source_key, r.from_minute)), '')
        from billing_core.source_regions r join billing_core.sources s using (source_key)
        where s.source_id = %(source_id)s)
