-- Purpose: remembers the region that a source's setting named last, so that only a change of the setting dates another
--          one (R2): a region published with the prices stays, and collecting again adds none. Null until the source
--          is collected next: which of the dated regions was the setting's, nobody kept.
-- Grain:   source.

alter table billing_core.sources add column setting_region text;
comment on column billing_core.sources.setting_region is
    'Region that the source''s setting named when it was last collected; a change of it is dated in source_regions (R2).';
