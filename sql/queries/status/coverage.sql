-- Purpose: collected source-hours by state. Grain: state.
select state, count(*) as hours from billing.source_hours group by state order by state
