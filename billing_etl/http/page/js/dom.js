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

/** Puts children in place of what was there. */
export function fill(target, ...children) {
  target.replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
  target.removeAttribute("aria-busy");
}

/** A table from rows of cells; a column is {title, number: is it one, cell: (row) => text or element}. */
export function table(caption, columns, rows) {
  const kind = (column) => (column.number ? "number" : null);
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
