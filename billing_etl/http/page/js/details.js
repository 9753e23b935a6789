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

/** Asks again for what the panel shows; there is nothing to ask while it is closed. */
let renew = async () => {};
export const renewDetails = () => renew();

/** Opens the panel. `site` has can_collect, collectable, run_link, refresh, letter and closed. */
export async function openDetails(site, source, at, letter) {
  const panel = byId("details");
  const opener = document.activeElement;
  const close = () => {
    renew = async () => {};
    panel.hidden = true;
    site.closed();
    (opener.isConnected ? opener : document.querySelector(".map td[tabindex='0'], #coverage button, #filter")).focus();
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
  // What a collection says while it runs stays beside what is known since.
  const logs = el("span", { class: "logs" });
  const progress = el("div", { class: "progress", role: "status" });
  const actions = el("div", { class: "actions" }, collect(site, source, at, progress), logs, progress);
  const known = el("div", { "aria-live": "polite" }, el("p", { class: "muted" }, "Loading …"));
  fill(panel, head, when, actions, known);
  fill(mark, stateChip(letter));
  panel.hidden = false;
  head.firstChild.focus();
  let shown = null;
  const ask = async () => {
    let found;
    try {
      found = await get("v1/page/hour", { source: source.source_id, hour: hourLabel(at) });
    } catch (error) {
      if (renew === ask) fill(known, el("p", { class: "banner bad" }, error.message));
      shown = null;
      return;
    }
    const text = JSON.stringify(found);
    if (renew !== ask || text === shown) return;
    shown = text;
    const now = letterOf(found.known) ?? site.letter(source.source_id, at) ?? letter;
    fill(mark, stateChip(now));
    fill(logs, log(site, found));
    fill(known, facts(now, found));
  };
  renew = ask;
  await ask();
}

const stateChip = (letter) => chip(STATES[letter].name, stateClass(letter));

/** The state of the hour as its details say it; undefined: they say nothing, so the map knows better. */
function letterOf(known) {
  if (known?.error) return "f";
  return known?.state?.[0];
}

// --- what to do -----------------------------------------------------------------------------------

function collect(site, source, at, progress) {
  if (!site.can_collect) return note("You may look, but not collect again: that takes the right to trigger collect_and_rate.");
  if (!site.collectable.includes(source.source_id)) {
    return note("It cannot be collected again: EXPORTER_SOURCES_JSON does not name this source any more.");
  }
  const button = el("button", { type: "button", class: "primary" }, "Collect again");
  button.addEventListener("click", () => collectAgain(site, source.source_id, at, button, progress));
  return button;
}

/** The log of the failure as long as there is one, else of the run that wrote the hour; or why there is none. */
function log(site, { known, log_link: written, failed_log_link: failed }) {
  if (!known) return null;
  const [link, run, text] = known.error
    ? [failed, known.failed_run_id, "Open the failed task's log"]
    : [written, known.run_id, "Open the collecting task's log"];
  if (link) return el("a", { class: "button", href: address(link), onclick: leaveFrame }, text);
  if (!run) return null;
  return note(isInAirflow ? `There is no task log: run ${run} was not a task of Airflow, or is deleted there.` : `The log is that of the process that did run ${run}.`);
}

const note = (text) => el("p", { class: "muted" }, text);

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
