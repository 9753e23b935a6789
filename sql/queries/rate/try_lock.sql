-- Purpose: the lock of the one rating writer (R4), where it is free within a moment; false where it is not.
-- Parameters: wait (such as 2s; null: not at all).
select billing_core.try_rating_lock(%(wait)s::text)
