// The line of numbers at the top: how fresh everything is, and what waits.

import { el, fill } from "./dom.js";
import { count, duration, moment, some } from "./format.js";
import { tally } from "./states.js";

const KINDS = { good: "✓", warn: "▲", bad: "✕", none: "–" };

function tile(title, value, note, kind) {
  return el(
    "li",
    { class: `tile ${kind}` },
    el("span", { class: "mark", "aria-hidden": "true" }, KINDS[kind]),
    el("span", { class: "title" }, title),
    el("strong", {}, value),
    el("span", { class: "about" }, note),
  );
}

const failed = (title) => tile(title, "unknown", "the answer is missing", "none");

export function showTiles(target, coverage, usage, work) {
  fill(target, [
    ...(coverage ? [lag(coverage), hours(coverage)] : [failed("Facts"), failed("Hours")]),
    usage ? unrated(usage) : failed("Rating"),
    ...(work ? [delivery(work), reconciled(work), findings(work)] : [failed("Delivery"), failed("Findings")]),
  ]);
}

function lag({ sources }) {
  const behind = sources.filter((source) => source.enabled && source.lag_seconds !== null);
  if (!behind.length) return tile("Facts are behind by", "–", "nothing was collected yet", "none");
  const worst = behind.reduce((a, b) => (a.lag_seconds > b.lag_seconds ? a : b));
  // The running hour counts as lag: up to two hours are as they should be.
  const kind = worst.lag_seconds < 7200 ? "good" : worst.lag_seconds < 4 * 3600 ? "warn" : "bad";
  return tile("Facts are behind by", duration(worst.lag_seconds), `at most; ${worst.source_id}`, kind);
}

function hours({ sources }) {
  const counts = tally(sources);
  const open = counts.f + counts.d + counts.p;
  const kind = counts.f + counts.d ? "bad" : open ? "warn" : "good";
  const note = open ? `${count(counts.f)} failed, ${count(counts.d)} late, ${count(counts.p)} partial` : "none is open";
  return tile("Open source-hours", count(open), note, kind);
}

function unrated({ unrated: { account_hours: waiting, oldest_hour: oldest } }) {
  const note = waiting ? `of accounts; oldest ${moment(oldest)}` : "every hour is rated";
  return tile("Hours not rated", count(waiting), note, waiting ? "warn" : "good");
}

function delivery({ delivery: meters }) {
  const on = meters.filter((meter) => meter.state !== "off");
  if (!on.length) return tile("Events not delivered", "–", "delivery is off", "none");
  const backlog = on.reduce((sum, meter) => sum + meter.backlog, 0);
  const age = Math.max(...on.map((meter) => meter.oldest_age_seconds ?? 0));
  const kind = on.some((m) => m.state === "stalled") ? "bad" : on.some((m) => m.state === "behind") ? "warn" : "good";
  return tile("Events not delivered", count(backlog), backlog ? `oldest ${duration(age)} old` : "all are stored", kind);
}

function reconciled({ checks }) {
  if (!checks.length) return tile("Reconciled up to", "–", "no check ran for these hours", "none");
  const last = checks.map((check) => check.last_hour).sort()[0];
  const different = checks.reduce((sum, check) => sum + check.different, 0);
  const note = different ? `${some(different, "check")} differ` : "no difference is left";
  return tile("Reconciled up to", moment(Date.parse(last) + 3_600_000), note, different ? "bad" : "good");
}

function findings({ findings: rows }) {
  const total = rows[0]?.total ?? 0;
  const note = total ? `latest ${moment(rows[0].opened_at)}` : "none needs a person";
  return tile("Open findings", count(total), note, total ? "warn" : "good");
}
