// Details of one hour of a source: what was expected, what came, what went wrong, and what to do.

import { get } from "./api.js";
import { address, isInAirflow, leaveFrame } from "./airflow.js";
import { collectAgain } from "./collect.js";
import { byId, chip, el, fill } from "./dom.js";
import { count, hourLabel, hourSpan, minuteRanges, moment, some } from "./format.js";
import { STATES, stateClass } from "./states.js";

const EVENTS = {
  node_restart: "counters restarted with their node: counted from zero",
  single_series: "single counters fell: counted from zero",
  exporter_down: "stretch without snapshots; its bytes stay on the minute they arrived in",
  series_absent: "stretch in which a series was away; its bytes stay on the minute they arrived in",
};

let asked = 0;

/** Opens the panel. `site` has can_collect, collectable, run_link, refresh and letter. */
export async function openDetails(site, source, at, letter) {
  const panel = byId("details");
  const ticket = ++asked;
  const close = () => {
    asked += 1;
    panel.hidden = true;
    document.querySelector(".map td[tabindex='0']")?.focus();
  };
  panel.onkeydown = (event) => event.key === "Escape" && close();
  const head = el(
    "div",
    { class: "head" },
    el("h2", { tabindex: "-1" }, source.source_id),
    el("button", { type: "button", class: "quiet", "aria-label": "Close the details", onclick: close }, "✕"),
  );
  const mark = el("span");
  const when = el("p", { class: "when" }, `${hourSpan(at)} UTC `, mark);
  const body = el("div", { "aria-live": "polite" }, el("p", { class: "muted" }, "Loading …"));
  fill(panel, head, when, body);
  const show = (now) => fill(mark, chip(STATES[now].name, stateClass(now)));
  const ask = () => get("v1/page/hour", { source: source.source_id, hour: hourLabel(at) });
  show(letter);
  panel.hidden = false;
  head.firstChild.focus();
  try {
    const found = await ask();
    if (ticket !== asked) return;
    const known = el("div", {}, facts(letter, found));
    // What the collection said stays beside what is known since.
    const renew = async () => {
      const [now, renewed] = [site.letter(source.source_id, at) ?? letter, await ask()];
      if (ticket !== asked) return;
      show(now);
      fill(known, facts(now, renewed));
    };
    fill(body, actions(site, source, at, found, renew), known);
  } catch (error) {
    if (ticket === asked) fill(body, el("p", { class: "banner bad" }, error.message));
  }
}

// --- what to do -----------------------------------------------------------------------------------

function actions(site, source, at, { known, log_link: log, failed_log_link: failedLog }, renew) {
  const link = failedLog ?? log;
  const progress = el("div", { class: "progress", role: "status" });
  const parts = [];
  if (link) {
    const text = failedLog ? "Open the failed task's log" : "Open the log";
    parts.push(el("a", { class: "button", href: address(link), onclick: leaveFrame }, text));
  }
  if (site.can_collect && site.collectable.includes(source.source_id)) {
    const button = el("button", { type: "button", class: "primary" }, "Collect again");
    button.addEventListener("click", () => collectAgain(site, source.source_id, at, button, progress, renew));
    parts.unshift(button);
  }
  return el("div", { class: "actions" }, parts, why(site, source, link, known), progress);
}

/** Why a button or a link is not there. */
function why(site, source, link, known) {
  const notes = [];
  if (!site.can_collect) notes.push("You may look, but not collect again: that takes the right to trigger collect_and_rate.");
  else if (!site.collectable.includes(source.source_id)) {
    notes.push("It cannot be collected again: EXPORTER_SOURCES_JSON does not name this source any more.");
  }
  const run = known?.failed_run_id ?? known?.run_id;
  if (!link && run && isInAirflow) notes.push(`There is no task log: run ${run} was not a task of Airflow, or is deleted there.`);
  else if (!link && run) notes.push(`Its log is that of the process that did run ${run}.`);
  return notes.map((note) => el("p", { class: "muted" }, note));
}

// --- what is known --------------------------------------------------------------------------------

function facts(letter, { known, nodes, events }) {
  if (!known || (known.state === null && known.error === null)) {
    return [el("p", {}, letter === "d" ? "Nobody has tried to collect this hour yet." : `Nothing was collected: ${STATES[letter].text}.`), minutes(nodes)];
  }
  return [
    known.error ? failure(known) : null,
    known.state ? counts(known) : el("p", {}, "Nothing of this hour is stored: no collection of it succeeded."),
    minutes(nodes),
    events.length ? unusual(events) : null,
  ];
}

const failure = (known) =>
  el(
    "div",
    { class: "failure" },
    el("strong", {}, `Failed ${moment(known.failed_at)}`),
    el("p", {}, known.error),
    known.state ? el("p", { class: "muted" }, `What was collected before stands (${known.state}).`) : null,
  );

function counts(known) {
  const rows = [
    ["State", known.state],
    ["Snapshots", `${count(known.snapshots)} of ${count(known.expected_snapshots)} expected`],
    ["Missing", some(known.missing_minutes, "minute")],
    ["Samples", count(known.samples)],
    ["· used", count(known.used)],
    ["· repeated", count(known.duplicates)],
    ["· baselines", count(known.baselines)],
    ["· put aside", count(known.quarantined)],
    ["First, last", known.first_instant ? `${known.first_instant.slice(11, 19)}, ${known.last_instant.slice(11, 19)}` : "none"],
    ["Changed", `${moment(known.changed_at)} by run ${known.run_id}`],
  ];
  return el("dl", { class: "counts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function minutes(nodes) {
  const late = nodes.filter((node) => node.missing.length);
  if (!nodes.length) return el("p", { class: "muted" }, "No node of this source was expected.");
  if (!late.length) return el("p", { class: "muted" }, `Every minute has a snapshot of ${some(nodes.length, "node")}.`);
  return el(
    "div",
    { class: "minutes" },
    el("h3", {}, "Minutes without a snapshot"),
    late.map((node) => [
      el("p", {}, el("strong", {}, `${node.env}/${node.node_id}`), ` ${minuteRanges(node.missing, node.slot_minutes)}`),
      strip(node),
    ]),
  );
}

/** Sixty minutes as a line; the text beside it says the same. */
function strip({ missing, slot_minutes: slot }) {
  const gone = new Set(missing.flatMap((minute) => Array.from({ length: slot }, (_, at) => minute + at)));
  return el(
    "div",
    { class: "strip", "aria-hidden": "true" },
    Array.from({ length: 60 }, (_, minute) => el("i", { class: gone.has(minute) ? "gone" : null })),
  );
}

const unusual = (events) =>
  el(
    "div",
    {},
    el("h3", {}, "Unusual"),
    el("ul", { class: "plain" }, events.map(({ kind, cases, message }) =>
      el("li", {}, el("strong", {}, `${count(cases)} × ${kind}`), ` ${message ?? EVENTS[kind] ?? ""}`))),
  );
