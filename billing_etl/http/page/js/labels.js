// What the map says in words: days and hours above it, states within it. Only what fits whole is
// said, whatever the window, the letters and the number of hours are.

import { el, fill } from "./dom.js";
import { clock, day } from "./format.js";
import { LETTERS, STATES, stateClass } from "./states.js";

const FORMS = ["word", "mark"];
const ROOM = 3; // pixels between what two neighbours say
const STEPS = [1, 2, 3, 6, 12, 24]; // hours between two that are named

/**
 * Labels the map, and again when its cells get wider or narrower.
 *
 * @param frame around the map
 * @param grid the map: an empty head, and a row of cells for each source
 * @param sources in the order of the rows
 * @param columns instants of the hours
 */
export function keepLabelled(frame, grid, sources, columns) {
  const cell = grid.tBodies[0].rows[0].cells[1];
  let width = 0;
  const label = () => {
    const now = cell.getBoundingClientRect().width;
    if (now === width || now === 0) return;
    width = now;
    const measure = ruler(cell);
    fill(grid.tHead, dayRow(columns, width, measure), hourRow(columns, width, measure));
    fillCells(grid, sources, FORMS.find((form) => widest(form, measure) + ROOM <= width) ?? "shape");
  };
  label();
  new ResizeObserver((_, observer) => (frame.isConnected ? label() : observer.disconnect())).observe(frame);
}

/** How wide a text is in the letters of an element. */
function ruler(element) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = getComputedStyle(element).font;
  return (text) => context.measureText(text).width;
}

const widest = (form, measure) => Math.max(...LETTERS.map((letter) => measure(STATES[letter][form])));

function fillCells(grid, sources, form) {
  if ((grid.dataset.form ?? "shape") === form) return;
  grid.dataset.form = form;
  sources.forEach(({ states }, row) => {
    const { cells } = grid.tBodies[0].rows[row];
    for (let at = 0; at < states.length; at += 1) cells[at + 1].textContent = STATES[states[at]][form] ?? "";
  });
}

function dayRow(columns, width, measure) {
  const spans = [];
  for (const at of columns) {
    if (spans.at(-1)?.name === day(at)) spans.at(-1).length += 1;
    else spans.push({ name: day(at), length: 1 });
  }
  const fitting = ({ name, length }) => [name, name.split(" ")[0]].find((text) => measure(text) + 2 * ROOM <= length * width);
  return el(
    "tr",
    { "aria-hidden": "true" },
    el("td", { class: "corner" }),
    spans.map((span) => el("td", { class: "day", colspan: span.length }, el("span", {}, fitting(span) ?? ""))),
  );
}

function hourRow(columns, width, measure) {
  const needed = (measure("00") + ROOM) / width;
  const every = STEPS.find((step) => step >= needed) ?? 24;
  return el(
    "tr",
    { "aria-hidden": "true" },
    el("td", { class: "corner" }, "source, lag"),
    columns.map((at, index) => {
      const hour = new Date(at).getUTCHours();
      // The number reaches over the cells to its right; at the end there are none.
      const isNamed = hour % every === 0 && index + needed <= columns.length;
      const place = `hour${hour === 0 ? " midnight" : ""}${every === 1 ? " over" : ""}`;
      return el("td", { class: place }, isNamed ? el("span", {}, clock(at).slice(0, 2)) : "");
    }),
  );
}

/** The signs beside the map: each with its mark, which cells show where words have no room. */
export const sample = (letter) => el("span", { class: `sample ${stateClass(letter)}`, "aria-hidden": "true" }, STATES[letter].mark);
