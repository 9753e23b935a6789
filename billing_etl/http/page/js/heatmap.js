// The map: a row for each source, a cell for each hour. It is a grid for the keyboard too: Tab leads
// into it, arrows move, Enter opens the details.

import { chip, el, fill, nothing, table } from "./dom.js";
import { HOUR_MS, clock, count, day, duration, hourSpan, some } from "./format.js";
import { LETTERS, STATES, stateClass, tally } from "./states.js";

const FEWEST_HOURS = 24;
const WORDS_UP_TO = 30;
const MOST_ROWS = 200;
const WORST_FIRST = ["f", "d", "p", "l"];

export function showLegend(target, sources) {
  const counts = tally(sources);
  fill(
    target,
    (sources.length ? LETTERS : []).filter((letter) => letter !== "." || counts["."]).map((letter) =>
      el(
        "li",
        { title: STATES[letter].text },
        el("span", { class: `sample ${stateClass(letter)}`, "aria-hidden": "true" }),
        `${STATES[letter].name} `,
        el("span", { class: "muted" }, count(counts[letter])),
      ),
    ),
  );
}

/** Sources as they are shown: found by name, in the order that was chosen. */
export function chosen(sources, filter, order) {
  const found = sources.filter((source) => source.source_id.toLowerCase().includes(filter.toLowerCase()));
  if (order === "name") found.sort((a, b) => a.source_id.localeCompare(b.source_id));
  // One that was never collected is behind all others.
  if (order === "lag") found.sort((a, b) => (b.lag_seconds ?? Infinity) - (a.lag_seconds ?? Infinity));
  return found;
}

/** The same from the first hour on in which any source was expected: a young site has no empty days. */
export function fitted(coverage) {
  const start = Date.parse(coverage.from_hour);
  const hours = (Date.parse(coverage.to_hour) - start) / HOUR_MS;
  const first = Math.min(...coverage.sources.map(({ states }) => states.search(/[^.]/)).filter((at) => at >= 0), hours);
  const cut = Math.max(0, Math.min(first, hours - FEWEST_HOURS));
  const sources = coverage.sources.map((source) => ({ ...source, states: source.states.slice(cut) }));
  return { ...coverage, sources, from_hour: new Date(start + cut * HOUR_MS).toISOString() };
}

export function showMap(target, coverage, sources, open) {
  const start = Date.parse(coverage.from_hour);
  const hours = (Date.parse(coverage.to_hour) - start) / HOUR_MS;
  if (!coverage.sources.length) return fill(target, noSource());
  if (!sources.length) return fill(target, nothing("No source has such a name."));
  const columns = Array.from({ length: hours }, (_, at) => start + at * HOUR_MS);
  const grid = el(
    "table",
    { class: "map", role: "grid", "aria-label": "State of each source, hour by hour" },
    el("thead", {}, dayRow(columns), hourRow(columns)),
    el("tbody", {}, sources.map((source) => sourceRow(source, columns))),
  );
  grid.dataset.zoom = columns.length <= WORDS_UP_TO ? "word" : columns.length <= 72 ? "mark" : "dot";
  const focus = operate(grid, sources, columns, open);
  const before = target.querySelector(".mapframe");
  const held = before?.contains(document.activeElement) ? document.activeElement.title : null;
  const [left, top] = [before?.scrollLeft ?? Infinity, before?.scrollTop ?? 0];
  const frame = el("div", { class: "mapframe" }, grid);
  fill(target, frame, beyond(coverage));
  frame.scrollTo(Math.min(left, frame.scrollWidth), top); // the newest hours first
  if (held) focus(held);
}

const noSource = () =>
  el(
    "div",
    { class: "empty" },
    el("h3", {}, "No source yet"),
    el("p", {}, "Name the exporters in EXPORTER_SOURCES_JSON; the next run of collect_and_rate collects them."),
  );

const beyond = ({ sources, total_sources: total }) =>
  total > sources.length
    ? nothing(`${count(sources.length)} of ${count(total)} sources are shown: those with most open hours.`)
    : null;

function dayRow(columns) {
  const spans = [];
  for (const at of columns) {
    if (spans.at(-1)?.name === day(at)) spans.at(-1).length += 1;
    else spans.push({ name: day(at), length: 1 });
  }
  return el(
    "tr",
    { "aria-hidden": "true" },
    el("td", { class: "corner" }),
    // A day of three cells has no room for its name.
    spans.map(({ name, length }) => el("td", { class: "day", colspan: length }, length * 10 > columns.length / 3 ? name : "")),
  );
}

function hourRow(columns) {
  const every = columns.length <= WORDS_UP_TO ? 1 : columns.length <= 72 ? 3 : 12;
  // The number reaches over the cells to its right: at the end it would make the map wider than its frame.
  const room = Math.ceil(every / 4);
  return el(
    "tr",
    { "aria-hidden": "true" },
    el("td", { class: "corner" }, "source, lag"),
    columns.map((at, index) => {
      const hour = new Date(at).getUTCHours();
      const isNamed = hour % every === 0 && index + room <= columns.length;
      return el("td", { class: hour === 0 ? "hour midnight" : "hour" }, isNamed ? el("span", {}, clock(at).slice(0, 2)) : "");
    }),
  );
}

function sourceRow(source, columns) {
  const lag = source.lag_seconds === null ? "never" : duration(source.lag_seconds);
  return el(
    "tr",
    {},
    el(
      "th",
      { scope: "row", class: source.lag_seconds > 4 * 3600 || source.lag_seconds === null ? "behind" : null },
      el(
        "div",
        {},
        el("span", { class: "name", title: source.source_id }, source.source_id),
        el("span", { class: "lag", title: source.last_error ?? "lag of its checkpoint" }, source.enabled ? lag : "off"),
      ),
    ),
    columns.map((at, index) => {
      const midnight = new Date(at).getUTCHours() === 0 ? " midnight" : "";
      return el("td", { class: stateClass(source.states[index]) + midnight, role: "gridcell" });
    }),
  );
}

/** One listener for all cells; a cell gets its text for people when it is first looked at. */
function operate(grid, sources, columns, open) {
  const rows = [...grid.tBodies[0].rows];
  const place = (cell) => [rows.indexOf(cell.parentElement), cell.cellIndex - 1];
  const letter = (row, column) => sources[row].states[column];
  const describe = (cell) => {
    if (cell.title) return;
    const [row, column] = place(cell);
    const { name, text } = STATES[letter(row, column)];
    cell.title = `${sources[row].source_id}, ${hourSpan(columns[column])}: ${name} (${text})`;
    cell.setAttribute("aria-label", cell.title);
  };
  let current = null;
  const focus = (cell, quietly) => {
    if (current) current.tabIndex = -1;
    current = cell;
    describe(cell);
    cell.tabIndex = 0;
    if (!quietly) cell.focus();
  };
  const choose = (cell) => {
    const [row, column] = place(cell);
    focus(cell);
    grid.querySelector("[aria-selected]")?.removeAttribute("aria-selected");
    cell.setAttribute("aria-selected", "true");
    open(sources[row], columns[column], letter(row, column));
  };
  const cellOf = (event) => event.target.closest("td[role=gridcell]");
  grid.addEventListener("mouseover", (event) => cellOf(event) && describe(cellOf(event)));
  grid.addEventListener("click", (event) => cellOf(event) && choose(cellOf(event)));
  grid.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    const [row, column] = place(cell);
    const last = columns.length - 1;
    const to = {
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      Home: [row, 0],
      End: [row, last],
      PageUp: [Math.max(0, row - 10), column],
      PageDown: [Math.min(rows.length - 1, row + 10), column],
    }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(cell);
    else if (!to) return;
    else if (rows[to[0]] && to[1] >= 0 && to[1] <= last) focus(rows[to[0]].cells[to[1] + 1]);
    event.preventDefault();
  });
  focus(rows[0].cells[columns.length], true);
  /** Puts the focus where it was before the map was drawn anew. */
  return (title) => {
    const [id, at] = [title.split(", ")[0], title];
    const row = rows[sources.findIndex((source) => source.source_id === id)];
    const found = row && [...row.cells].slice(1).find((cell) => (describe(cell), cell.title.split(": ")[0] === at.split(": ")[0]));
    if (found) focus(found);
  };
}

/** The same without a map: the hours that are not complete. */
export function showHours(target, coverage, sources, open) {
  const start = Date.parse(coverage.from_hour);
  const rows = WORST_FIRST.flatMap((letter) =>
    sources.flatMap((source) =>
      [...source.states].flatMap((state, at) => (state === letter ? [{ source, letter, at: start + at * HOUR_MS }] : [])),
    ),
  );
  if (!coverage.sources.length) return fill(target, noSource());
  if (!rows.length) return fill(target, nothing("Every hour that was due is complete."));
  fill(
    target,
    table(
      "Hours that are not complete",
      [
        { title: "Source", cell: (row) => row.source.source_id },
        { title: "Hour", cell: (row) => hourSpan(row.at) },
        { title: "State", cell: (row) => chip(STATES[row.letter].name, stateClass(row.letter)) },
        {
          title: "",
          cell: (row) =>
            el("button", { type: "button", onclick: () => open(row.source, row.at, row.letter) }, "Details"),
        },
      ],
      rows.slice(0, MOST_ROWS),
    ),
    rows.length > MOST_ROWS ? nothing(`and ${some(rows.length - MOST_ROWS, "more hour")}`) : null,
  );
}
