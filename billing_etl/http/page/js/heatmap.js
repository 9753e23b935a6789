// The map: a row for each source, a cell for each hour. It is a grid for the keyboard too: Tab leads
// into it, arrows move, Enter opens the details.

import { chip, el, fill, nothing, table } from "./dom.js";
import { HOUR_MS, count, duration, hourSpan, some } from "./format.js";
import { keepLabelled, sample } from "./labels.js";
import { LETTERS, STATES, stateClass, tally } from "./states.js";

const FEWEST_HOURS = 24;
const MOST_ROWS = 200;
const WORST_FIRST = ["f", "d", "p", "l"];

/** Where the keyboard is in the map, and the hour whose details are open: {id, at}. */
let seat = null;
let opened = null;
/** The cell of such a place in the map as it is drawn now. */
let cellAt = () => undefined;

export function showLegend(target, sources) {
  const counts = tally(sources);
  fill(
    target,
    (sources.length ? LETTERS : []).filter((letter) => letter !== "." || counts["."]).map((letter) =>
      el("li", { title: STATES[letter].text }, sample(letter), `${STATES[letter].name} `, el("span", { class: "muted" }, count(counts[letter]))),
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
  const spans = columns.map(hourSpan);
  const grid = el(
    "table",
    { class: "map", role: "grid", "aria-label": "State of each source, hour by hour" },
    el("colgroup", {}, el("col", { class: "names" }), el("col", { span: hours })),
    el("thead"),
    el("tbody", {}, sources.map((source) => sourceRow(source, columns, spans))),
  );
  // How narrow a cell may get, by how many there are.
  const span = hours <= 30 ? "day" : hours <= 72 ? "days" : "week";
  grid.dataset.span = span;
  grid.style.setProperty("--hours", hours);
  const takeSeat = operate(grid, sources, columns, open);
  const isHeld = target.querySelector(".map")?.contains(document.activeElement);
  const before = target.querySelector(`.mapframe:has([data-span="${span}"])`);
  const [left, top] = [before?.scrollLeft ?? Infinity, before?.scrollTop ?? 0];
  const frame = el("div", { class: "mapframe" }, grid);
  fill(target, frame, beyond(coverage));
  keepLabelled(frame, grid, sources, columns);
  frame.scrollTo(Math.min(left, frame.scrollWidth), top); // the newest hours first
  takeSeat(isHeld);
}

/** Marks the hour whose details are open, {id, at}; null: none is. */
export function markOpened(place) {
  cellAt(opened)?.removeAttribute("aria-selected");
  opened = place;
  cellAt(opened)?.setAttribute("aria-selected", "true");
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

function sourceRow(source, columns, spans) {
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
      const letter = source.states[index];
      const { name, text } = STATES[letter];
      const midnight = new Date(at).getUTCHours() === 0 ? " midnight" : "";
      return el("td", {
        class: stateClass(letter) + midnight,
        role: "gridcell",
        "aria-label": `${source.source_id}, ${spans[index]}: ${name} (${text})`,
      });
    }),
  );
}

/** One listener for all cells. Gives what puts the keyboard back to where it was, in this new map. */
function operate(grid, sources, columns, open) {
  const rows = [...grid.tBodies[0].rows];
  const place = (cell) => [rows.indexOf(cell.parentElement), cell.cellIndex - 1];
  cellAt = (wanted) => {
    const row = sources.findIndex(({ source_id: id }) => id === wanted?.id);
    const column = columns.indexOf(wanted?.at);
    return row < 0 || column < 0 ? undefined : rows[row].cells[column + 1];
  };
  let current = null;
  const sit = (cell) => {
    if (current) current.tabIndex = -1;
    current = cell;
    cell.tabIndex = 0;
    cell.title = cell.getAttribute("aria-label");
  };
  const move = (cell) => {
    const [row, column] = place(cell);
    seat = { id: sources[row].source_id, at: columns[column] };
    sit(cell);
    cell.focus();
  };
  const choose = (cell) => {
    const [row, column] = place(cell);
    move(cell);
    open(sources[row], columns[column], sources[row].states[column]);
  };
  const cellOf = (event) => event.target.closest("td[role=gridcell]");
  grid.addEventListener("mouseover", (event) => {
    const cell = cellOf(event);
    if (cell) cell.title = cell.getAttribute("aria-label");
  });
  grid.addEventListener("click", (event) => cellOf(event) && choose(cellOf(event)));
  grid.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell || event.altKey || event.metaKey) return;
    const [row, column] = place(cell);
    const last = columns.length - 1;
    const to = {
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? rows.length - 1 : row, last],
      PageUp: [Math.max(0, row - 10), column],
      PageDown: [Math.min(rows.length - 1, row + 10), column],
    }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(cell);
    else if (!to) return;
    else if (rows[to[0]] && to[1] >= 0 && to[1] <= last) move(rows[to[0]].cells[to[1] + 1]);
    event.preventDefault();
  });
  return (isHeld) => {
    markOpened(opened);
    sit(cellAt(seat) ?? rows[0].cells[columns.length]);
    if (isHeld) current.focus();
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
        { title: "Source", kind: "name", cell: (row) => row.source.source_id },
        { title: "Hour", kind: "time", cell: (row) => hourSpan(row.at) },
        { title: "State", cell: (row) => chip(STATES[row.letter].name, stateClass(row.letter)) },
        {
          title: "",
          cell: (row) =>
            el("button", { type: "button", "aria-label": `Details of ${row.source.source_id}, ${hourSpan(row.at)}`, onclick: () => open(row.source, row.at, row.letter) }, "Details"),
        },
      ],
      rows.slice(0, MOST_ROWS),
    ),
    rows.length > MOST_ROWS ? nothing(`and ${some(rows.length - MOST_ROWS, "more hour")}`) : null,
  );
}
