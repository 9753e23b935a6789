// The line of numbers at the top: how fresh everything is, and what waits.

import { el, fill } from "./dom.js";
import { count, duration, moment, some } from "./format.js";
import { tally } from "./states.js";

const KINDS = {
  good: { mark: "✓", name: "in order" },
  warn: { mark: "▲", name: "needs a look" },
  bad: { mark: "✕", name: "needs someone" },
  none: { mark: "–", name: "nothing known" },
};

function tile(title, value, note, kind) {
  return el(
    "li",
    { class: `tile ${kind}` },
    el("span", { class: "mark", role: "img", "aria-label": KINDS[kind].name }, KINDS[kind].mark),
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
  const enabled = sources.filter((source) => source.enabled);
  const behind = enabled.filter((source) => source.lag_seconds !== null);
  const never = enabled.length - behind.length;
  if (!behind.length) return tile("Facts are behind by", "–", "nothing was collected yet", "none");
  const worst = behind.reduce((a, b) => (a.lag_seconds > b.lag_seconds ? a : b));
  // The running hour counts as lag: up to two hours are as they should be.
  const kind = worst.lag_seconds < 7200 ? "good" : worst.lag_seconds < 4 * 3600 ? "warn" : "bad";
  const note = never ? `at most; ${some(never, "source")} never collected` : `at most; ${worst.source_id}`;
  return tile("Facts are behind by", duration(worst.lag_seconds), note, never && kind === "good" ? "warn" : kind);
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

function delivery({ delivery: meters, waiting }) {
  const on = meters.filter((meter) => meter.state !== "off");
  if (!on.length) return tile("Events not delivered", "–", "delivery is off", "none");
  const backlog = on.reduce((sum, meter) => sum + meter.backlog, 0);
  const age = Math.max(...on.map((meter) => meter.oldest_age_seconds ?? 0));
  const isRefused = waiting.some((row) => row.last_error !== null);
  const isLate = isRefused || on.some((meter) => meter.state === "behind");
  const kind = on.some((meter) => meter.state === "stalled") ? "bad" : isLate ? "warn" : "good";
  const note = backlog ? `oldest ${duration(age)} old${isRefused ? ", the last try failed" : ""}` : "all are stored";
  return tile("Events not delivered", count(backlog), note, kind);
}

function reconciled({ checks }) {
  if (!checks.length) return tile("Reconciled up to", "–", "no check ran for these hours", "none");
  const last = checks.map((check) => check.last_hour).sort()[0];
  const different = checks.reduce((sum, check) => sum + check.different, 0);
  const note = different ? different === 1 ? "1 check of an hour differs" : `${count(different)} checks of hours differ` : "no difference is left";
  return tile("Reconciled up to", moment(Date.parse(last) + 3_600_000), note, different ? "bad" : "good");
}

function findings({ findings: rows }) {
  const total = rows[0]?.total ?? 0;
  const note = total ? `latest ${moment(rows[0].opened_at)}` : "none needs a person";
  return tile("Open findings", count(total), note, total ? "warn" : "good");
}
