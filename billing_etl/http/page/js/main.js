// The page: asks for what it shows, puts it in its place, and again every minute.

import { followTheme, address, isInAirflow, leaveFrame } from "./airflow.js";
import { get, keepToken } from "./api.js";
import { showAccounts, showDelivery, showFindings, showNotable } from "./cards.js";
import { redrawCharts, showBytes, showMoney } from "./charts.js";
import { openDetails, renewDetails } from "./details.js";
import { byId, el, fill } from "./dom.js";
import { HOUR_MS, clock, day, hourLabel } from "./format.js";
import { chosen, fitted, markOpened, showHours, showLegend, showMap } from "./heatmap.js";
import { showTiles } from "./tiles.js";

const REFRESH_MS = 60_000;
const VIEW = "billing-view";

const state = { hours: 168, until: null, coverage: null, asked: 0 };

async function load() {
  const ticket = ++state.asked;
  const window = { hours: state.hours, until: state.until };
  const answers = await Promise.allSettled(
    ["coverage", "usage", "work"].map((name) => get(`v1/page/${name}`, window)),
  );
  if (ticket !== state.asked) return; // a later request shows other hours
  const [found, usage, work] = answers.map((answer) => answer.value ?? null);
  const coverage = found && fitted(withNever(found));
  const errors = answers.filter((answer) => answer.status === "rejected").map((answer) => answer.reason);
  if (errors.some((error) => error.status === 401)) return signIn();
  byId("signin").hidden = true;
  showErrors(errors);
  byId("content").hidden = !(coverage || usage || work);
  showTiles(byId("tiles"), coverage, usage, work);
  if (coverage) showCoverage(coverage);
  if (coverage && usage) {
    showBytes(byId("bytes"), coverage, usage);
    showMoney(byId("money"), coverage, usage);
  }
  if (usage) showAccounts(byId("accounts"), usage);
  if (work) {
    showDelivery(byId("delivery"), work);
    showFindings(byId("findings"), work);
    showNotable(byId("notable"), work);
  }
  await renewDetails();
}

/** Sources that were never collected have no row in the database, but are expected. */
function withNever(coverage) {
  const states = ".".repeat((Date.parse(coverage.to_hour) - Date.parse(coverage.from_hour)) / HOUR_MS);
  const never = coverage.never.map((id) => ({ source_id: id, enabled: true, lag_seconds: null, last_error: null, states }));
  return { ...coverage, sources: [...coverage.sources, ...never], total_sources: coverage.total_sources + never.length };
}

function showCoverage(coverage) {
  state.coverage = coverage;
  const until = state.until ? `Up to ${day(state.until)} ${clock(state.until)}. ` : "";
  byId("updated").textContent = `${until}Updated ${clock(coverage.now)}.`;
  byId("later").disabled = state.until === null;
  showLegend(byId("legend"), coverage.sources);
  showChosen();
}

function showChosen() {
  const { coverage } = state;
  if (!coverage) return;
  const sources = chosen(coverage.sources, byId("filter").value, byId("order").value);
  const open = (source, at, letter) => {
    const site = { ...coverage, refresh: load, letter: stateOf, closed: () => markOpened(null) };
    openDetails(site, source, at, letter);
    markOpened({ id: source.source_id, at });
  };
  (byId("as-table").checked ? showHours : showMap)(byId("coverage"), coverage, sources, open);
}

/** The state of an hour of a source as it was loaded last; undefined when it is not shown. */
function stateOf(sourceId, at) {
  const { sources, from_hour: from } = state.coverage;
  return sources.find((source) => source.source_id === sourceId)?.states[(at - Date.parse(from)) / HOUR_MS];
}

// --- what went wrong ------------------------------------------------------------------------------

function showErrors(errors) {
  const messages = [...new Set(errors.map((error) => (error.status === 403 ? "You may not see runs of collect_and_rate; an admin of Airflow can give you that right." : error.message)))];
  fill(
    byId("banner"),
    messages.map((message) =>
      el("p", { class: "banner bad" }, `${message} `, el("button", { type: "button", onclick: load }, "Try again")),
    ),
  );
}

function signIn() {
  byId("content").hidden = true;
  fill(byId("banner"));
  const field = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = el(
    "form",
    { class: "card signin" },
    el("h2", {}, "Who are you?"),
    isInAirflow
      ? el("p", {}, "Your session has ended. ", el("a", { href: address("/auth/login"), onclick: leaveFrame }, "Sign in to Airflow"))
      : el("p", {}, "In Airflow, sign in there and load this page again. ",
        "For billing-etl serve, give its token: the value of INTERNAL_SERVICE_TOKEN. It is kept until this tab is closed."),
    isInAirflow ? null : [el("label", { for: "token" }, "Token"), field, el("button", { class: "primary" }, "Show")],
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(field.value.trim());
    load();
  });
  fill(byId("signin"), form);
  byId("signin").hidden = false;
  if (!isInAirflow) field.focus();
}

// --- controls -------------------------------------------------------------------------------------

/** Moves by the hours shown; never past now. */
function move(direction) {
  const end = state.coverage ? Date.parse(state.coverage.to_hour) : Date.now();
  const to = end + direction * state.hours * HOUR_MS;
  state.until = to > Date.now() ? null : hourLabel(to);
  if (state.until) state.until = `${state.until}:00:00Z`;
  load();
}

function remember() {
  sessionStorage.setItem(VIEW, JSON.stringify({ hours: state.hours, order: byId("order").value }));
}

function recall() {
  const view = JSON.parse(sessionStorage.getItem(VIEW) ?? "{}");
  const choice = document.querySelector(`input[name=hours][value="${Number(view.hours)}"]`);
  if (choice) {
    choice.checked = true;
    state.hours = Number(view.hours);
  }
  if (view.order) byId("order").value = view.order;
}

byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("window").addEventListener("change", (event) => {
  state.hours = Number(event.target.value);
  remember();
  load();
});
byId("earlier").addEventListener("click", () => move(-1));
byId("later").addEventListener("click", () => move(1));
byId("refresh").addEventListener("click", load);
byId("filter").addEventListener("input", showChosen);
byId("as-table").addEventListener("change", showChosen);
byId("order").addEventListener("change", () => {
  remember();
  showChosen();
});
setInterval(() => document.visibilityState === "visible" && byId("signin").hidden && load(), REFRESH_MS);

recall();
followTheme(redrawCharts);
load();
