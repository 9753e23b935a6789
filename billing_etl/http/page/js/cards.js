// The cards below the charts: accounts, delivery, reconciliation with findings, resets and gaps.

import { chip, el, fill, nothing, table } from "./dom.js";
import { bytes, count, duration, hourSpan, moment, money, some } from "./format.js";

const KINDS = {
  node_restart: "node restarted",
  single_series: "single counter fell",
  exporter_down: "no snapshots",
  series_absent: "series away",
};
const DELIVERY = { flowing: "good", idle: "good", off: "none", behind: "warn", stalled: "bad" };

export function showAccounts(target, { accounts }) {
  if (!accounts.length) return fill(target, nothing("No usage in these hours."));
  const top = Math.max(...accounts.map((account) => account.total_bytes), 1);
  return fill(
    target,
    table(
      "Accounts that pay most",
      [
        { title: "Account", cell: (row) => el("code", { class: "account", title: row.account_uuid }, row.account_uuid) },
        { title: "Bytes", kind: "number", cell: (row) => [bar(row.total_bytes / top), bytes(row.total_bytes)] },
        { title: "Included", kind: "number", cell: (row) => bytes(row.included_bytes) },
        { title: "Amount", kind: "number", cell: (row) => el("span", { title: row.amount }, money(row.amount)) },
        { title: "Balance", kind: "number", cell: (row) => balance(row) },
      ],
      accounts,
    ),
    el("p", { class: "muted" }, `The first ${accounts.length} of ${some(accounts[0].total, "account")} with usage in these hours.`),
  );
}

function bar(share) {
  const made = el("span", { class: "bar", "aria-hidden": "true" });
  made.style.setProperty("--share", share);
  return made;
}

const balance = (row) =>
  row.balance === null
    ? "–"
    : el("span", { title: row.balance, class: row.balance.startsWith("-") ? "owing" : null }, money(row.balance), row.suspend_state === "active" ? "" : ` ${row.suspend_state}`);

export function showDelivery(target, { delivery, waiting }) {
  if (!delivery.length) return fill(target, nothing("Nothing is counted yet."));
  return fill(
    target,
    table(
      "Delivery by event type",
      [
        { title: "Events", cell: (row) => row.event_type },
        { title: "State", cell: (row) => chip(row.state, DELIVERY[row.state] ?? "none") },
        { title: "Delivered", kind: "number", cell: (row) => count(row.delivered) },
        { title: "Wait", kind: "number", cell: (row) => count(row.backlog) },
        { title: "Oldest", kind: "time", cell: (row) => (row.backlog ? `${duration(row.oldest_age_seconds)} old` : "–") },
        { title: "Last stored", kind: "time", cell: (row) => moment(row.last_success) },
      ],
      delivery,
    ),
    delivery.filter((row) => row.last_error).map((row) => el("p", { class: "failure" }, `Last export: ${row.last_error}`)),
    waiting.length ? [el("h3", {}, "Sealed and not delivered"), objects(waiting)] : nothing("No sealed object waits."),
  );
}

const objects = (waiting) =>
  table(
    "Sealed and not delivered",
    [
      { title: "Hour", kind: "time", cell: (row) => hourSpan(row.hour) },
      { title: "Objects", kind: "number", cell: (row) => count(row.objects) },
      { title: "Events", kind: "number", cell: (row) => count(row.events) },
      { title: "Attempts", kind: "number", cell: (row) => count(row.attempts) },
      { title: "Last error", kind: "text", cell: (row) => row.last_error ?? "not tried yet" },
    ],
    waiting,
  );

export function showFindings(target, { checks, findings }) {
  fill(
    target,
    checks.length ? results(checks) : nothing("No check ran for these hours."),
    el("h3", {}, findings.length ? `Open findings: ${count(findings[0].total)}` : "Open findings"),
    findings.length ? list(findings) : nothing("None. Nothing waits for a person."),
  );
}

const results = (checks) =>
  table(
    "Checks of reconciliation, in hours",
    [
      { title: "Check", cell: (row) => row.check_name },
      { title: "Result", cell: (row) => (row.different ? chip("different", "bad") : row.repaired ? chip("repaired", "warn") : chip("clean", "good")) },
      { title: "Clean", kind: "number", cell: (row) => count(row.clean) },
      { title: "Repaired", kind: "number", cell: (row) => count(row.repaired) },
      { title: "Different", kind: "number", cell: (row) => count(row.different) },
      { title: "Skipped", kind: "number", cell: (row) => count(row.skipped) },
    ],
    checks,
  );

const list = (findings) =>
  table(
    "Open findings",
    [
      { title: "No.", kind: "number", cell: (row) => String(row.finding_id) },
      { title: "Kind", cell: (row) => row.check_name ?? row.kind },
      { title: "Where", kind: "name", cell: (row) => [row.source_id ?? "", row.hour ? el("div", { class: "muted" }, moment(row.hour)) : ""] },
      { title: "What", kind: "text", cell: (row) => row.message },
      { title: "Since", kind: "time", cell: (row) => moment(row.opened_at) },
    ],
    findings,
  );

export function showNotable(target, { notable }) {
  if (!notable.length) return fill(target, nothing("No counter fell and nothing is missing in these hours."));
  return fill(
    target,
    table(
      "Resets and gaps",
      [
        { title: "Source", kind: "name", cell: (row) => row.source_id },
        { title: "What", kind: "time", cell: (row) => KINDS[row.kind] ?? row.kind },
        { title: "Cases", kind: "number", cell: (row) => count(row.cases) },
        { title: "Bytes", kind: "number", cell: (row) => bytes(row.total_bytes) },
        { title: "Last in the hour", kind: "time", cell: (row) => moment(row.last_hour) },
      ],
      notable,
    ),
  );
}
