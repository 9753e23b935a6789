-- Purpose: a site as the Billing page meets it: sources with open hours, accounts, findings, a delivery that fails.
-- Parameters: from_hour, to_hour (exclusive; the hour before it runs), sources, accounts, run.

insert into billing_core.runs (command, external_id, finished_at, status)
values ('collect', 'collect_and_rate ' || %(run)s || ' collect', now(), 'success');

insert into billing_core.sources
    (source_id, kind, enabled, interval_seconds, first_hour, checkpoint_hour, last_attempted_at,
     last_succeeded_at, last_error)
select format('%%s-%%s', (array['berlin', 'tokyo', 'oregon', 'paulo', 'mumbai'])[1 + n %% 5],
              lpad(n::text, 3, '0')),
       'counter_exporter', true, 60, %(from_hour)s + case when n %% 20 = 19 then 60 else 0 end,
       %(to_hour)s - case when n %% 17 = 3 then 9 else 1 end, now(), now(),
       case when n %% 17 = 3 then 'expected an answer within 10 s, got none' end
from generate_series(0, %(sources)s - 1) n;

insert into billing_core.nodes (source_key, env, node_id, shared)
select source_key, 'prod', 'node-' || source_key, false from billing_core.sources;

insert into billing_core.source_hours
    (source_key, hour, state, expected_snapshots, snapshots, samples, used, duplicates,
     baselines, quarantined, missing_minutes, content_hash, run_id)
select source_key, h, case when (source_key * 7 + h) %% 97 = 0 then 'lost'
                           when (source_key * 5 + h) %% 61 < 2 then 'partial'
                           else 'complete' end,
       60, 60, 600, 590, 3, 5, 2, 0, sha256('x'), 1
from billing_core.sources s
cross join generate_series(s.first_hour, %(to_hour)s - 2) h
where h < s.checkpoint_hour;

insert into billing_core.failed_source_hours (source_key, hour, error, run_id)
select source_key, h, 'expected an answer within 10 s, got none; is the exporter up?', 1
from billing_core.sources s cross join generate_series(s.checkpoint_hour, %(to_hour)s - 6) h
where s.last_error is not null;

insert into billing_core.accounts (account_uuid)
select md5(n::text)::uuid from generate_series(1, %(accounts)s) n;

insert into billing_core.account_balances (account_key, balance, throttle_state, suspend_state)
select account_key, 10 - account_key, 'normal', 'active' from billing_core.accounts;

insert into billing_core.account_hours
    (account_key, meter_id, hour, quantity, included_quantity, amount, rated, stale,
     uplink_quantity, region_id)
select account_key, 1, h, q, q / 10, (q - q / 10) * 0.00000002, true, h > %(to_hour)s - 3, q / 3, 1
from generate_series(%(from_hour)s, %(to_hour)s - 2) h
cross join billing_core.accounts
cross join lateral (select (40000000 * (1 + sin((h %% 24) * 0.2618 - 1.5)) + 997 * account_key
                            )::bigint as q) x
order by h, account_key;

insert into billing_core.series (node_key, account_key, inbound_tag, meter_id)
select node_key, 1, 'tcp', 1 from billing_core.nodes;

insert into billing_core.counter_resets
select series_id, h * 3600000000000::bigint, h, true, 1000, 1000, 10, 10
from billing_core.series cross join generate_series(%(from_hour)s, %(to_hour)s, 37) h
where series_id %% 5 = 0;

insert into billing_core.usage_gaps
select node_key, 0, h * 3600000000000::bigint, (h - 1) * 3600000000000::bigint, h, 5000000
from billing_core.nodes cross join generate_series(%(from_hour)s, %(to_hour)s, 29) h
where node_key %% 4 = 0;

insert into billing_core.node_instants
select node_key, (h * 3600 + m * 60 + 3) * 1000000000::bigint, h, 10, 9, 0, 1000, false, sha256('x')
from billing_core.nodes
cross join generate_series(%(to_hour)s - 30, %(to_hour)s - 2) h
cross join generate_series(0, 59) m
where m not between 12 and 14;

insert into billing_core.reconciliations
    (hour, check_name, expected, actual, difference, status, run_id)
select h, c, '1', '1', '', case when (h + length(c)) %% 83 = 0 then 'different' else 'clean' end, 1
from generate_series(%(from_hour)s, %(to_hour)s - 4) h
cross join unnest(array['exporter_collected', 'counters_facts', 'facts_ratings',
                        'ratings_ledger', 'facts_events', 'sealed_stored']) c;

insert into billing_core.findings (kind, source_key, hour, subject, message, run_id, check_name)
select 'reconciliation', 1 + n, %(to_hour)s - 10 - n, 'n' || n,
       'facts_ratings: expected 1,200 bytes rated, got 1,100: 100 bytes too few', 1, 'facts_ratings'
from generate_series(0, least(6, %(sources)s - 1)) n;

insert into billing_core.deliveries (hour, meter_id, sealings, sealed_at, sealed_events)
select h, 1, 1, now(), 100 from generate_series(%(from_hour)s, %(to_hour)s - 4) h;

insert into billing_core.batches
    (hour, meter_id, sealing, ordinal, kind, bucket, object_key, events, net_quantity,
     size_bytes, sha256, event_ids_sha256, payload, run_id, attempts, last_error, envelope)
select %(to_hour)s - h, 1, 1, n, 'events', 'usage', 'k/' || h || '/' || n, 50, 1, 20000, '', '',
       '', 1, 2, 'put: expected 200, got 503 SlowDown',
       'billing_event'
from generate_series(4, 7) h cross join generate_series(1, 3) n;

update billing_core.delivery_heartbeats set is_exported = true, last_success = now() - interval '3 hours';
