-- Purpose: takes the lock of the one rating writer (R4) if it becomes free within a while. A run that can do without it
--          asks like this, and does not fail when somebody rates for long.
-- Parameters: wait, a lock_timeout such as 2s; null: only if it is free at once.

create function billing_core.try_rating_lock(wait text) returns boolean language plpgsql as $$
declare
    usual text := current_setting('lock_timeout');
begin
    if pg_try_advisory_xact_lock(hashtext('billing_etl rating')) then
        return true;
    elsif wait is null then
        return false;
    end if;
    perform set_config('lock_timeout', wait, true);
    perform pg_advisory_xact_lock(hashtext('billing_etl rating'));
    perform set_config('lock_timeout', usual, true);
    return true;
exception when lock_not_available then
    return false;  -- the block is undone, its setting too
end $$;
