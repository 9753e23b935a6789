-- Purpose: remembers the region that a source's setting named last, so that only a change of the setting dates another
-- one (R2): a region published with the prices stays, and collecting again adds none.
-- Grain:   source.

alter table billing_core.sources add column setting_region text;
comment on column billing_core.sources.setting_region is
    'Region that the source''s setting named when it was last collected; a change of it is dated in source_regions (R2).';

update billing_core.sources s
set setting_region = (
    select r.region from billing_core.source_regions r
    where r.source_key = s.source_key order by r.from_minute desc limit 1);

do $$ begin
    assert not exists (
        select from billing_core.sources s
        join billing_core.source_regions r using (source_key)
        where s.setting_region is null), 'a source with a region has no setting_region';
end $$;
