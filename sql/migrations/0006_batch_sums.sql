-- Purpose: a batch may hold more bytes in sum than 64 bits do; without this, one broken counter at
--          its limit would hold back the delivery of everybody's hour.
alter table billing_core.batches alter column net_quantity type numeric;
