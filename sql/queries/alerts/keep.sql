-- Purpose: opens an alert, or brings an open one up to date; since stays as it was first seen. Grain: rule and subject.
-- Conflict key: (rule, subject) of open alerts. Parameters: those of the row.
insert into billing_core.alerts as a (rule, subject, what, remedy, value, threshold, since, opened_at)
values (%(rule)s, %(subject)s, %(what)s, %(remedy)s, %(value)s, %(threshold)s, %(since)s, %(at)s)
on conflict (rule, subject) where closed_at is null do update
set what = excluded.what, remedy = excluded.remedy, value = excluded.value, threshold = excluded.threshold
where (a.what, a.remedy, a.value, a.threshold)
    is distinct from (excluded.what, excluded.remedy, excluded.value, excluded.threshold)
