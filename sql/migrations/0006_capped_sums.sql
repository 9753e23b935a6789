-- Purpose:    a sum of quantities as the bigint that views promise. One counter gone mad must not keep everybody from
--             reading; such a sum shows as 2^63-1, and its samples are findings (rate_exceeded).
-- Grain:      one sum.
-- Parameters: total numeric

create function billing_core.capped(total numeric) returns bigint language sql immutable parallel safe as $$
    select case when total > 9223372036854775807 then 9223372036854775807 else total::bigint end
$$;
