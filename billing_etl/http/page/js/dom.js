// Makes elements. Text is always text: nothing that comes from the database is read as HTML.

export const byId = (id) => document.getElementById(id);

/** el("p", {class: "muted", onclick: f, disabled: true}, "text", child, null) */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Puts children in place of what was there. Focus and scrolled tables stay where they were. */
export function fill(target, ...children) {
  const restore = remember(target);
  target.replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
  target.removeAttribute("aria-busy");
  restore();
}

const NAMED = "button, a, summary, [role=region]";
const nameOf = (part) => part.getAttribute("aria-label") ?? part.textContent;

/** What the keyboard was on and how far tables were scrolled, by the names of these parts. */
function remember(target) {
  const parts = [...target.querySelectorAll(NAMED)];
  const held = parts.find((part) => part === document.activeElement);
  const moved = parts.filter((part) => part.scrollLeft || part.scrollTop);
  const places = new Map(moved.map((part) => [nameOf(part), [part.scrollLeft, part.scrollTop]]));
  return () => {
    for (const part of target.querySelectorAll(NAMED)) {
      if (places.has(nameOf(part))) part.scrollTo(...places.get(nameOf(part)));
      if (held && nameOf(part) === nameOf(held)) part.focus({ preventScroll: true });
    }
  };
}

/**
 * A table from rows of cells; a column is {title, kind, cell: (row) => text or element}. The kind says
 * how it may be broken into lines: a number or a time never, a name anywhere, a text between words.
 */
export function table(caption, columns, rows) {
  const kind = (column) => column.kind ?? null;
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      { class: "rows" },
      el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, columns.map((c) => el("th", { scope: "col", class: kind(c) }, c.title)))),
      el(
        "tbody",
        {},
        rows.map((row) => el("tr", {}, columns.map((c) => el("td", { class: kind(c) }, c.cell(row) ?? "")))),
      ),
    ),
  );
}

export const chip = (text, kind) => el("span", { class: `chip ${kind}` }, text);
export const nothing = (text) => el("p", { class: "muted" }, text);
