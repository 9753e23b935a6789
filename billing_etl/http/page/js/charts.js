// Bytes and money over time, drawn by uPlot; below each, the same numbers as a table.

import { el, fill, nothing, table } from "./dom.js";
import { HOUR_MS, bytes, count, hourSpan, money, shortMoney } from "./format.js";

const { uPlot } = window;
const HEIGHT = 220;
const CURSOR = uPlot.sync("billing");
const drawn = new Map();

const probe = el("span", { hidden: true });
document.body.append(probe);

/** The colour of that name in today's theme. uPlot asks at each drawing: a new theme needs no more. */
const themed = (name) => () => {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
};

export function redrawCharts() {
  for (const plot of drawn.values()) plot.redraw(false);
}

/** Every hour has a place, also one without usage. */
function columns(window, hours) {
  const from = Date.parse(window.from_hour) / HOUR_MS;
  const to = Date.parse(window.to_hour) / HOUR_MS;
  const known = new Map(hours.map((hour) => [hour.hour, hour]));
  const xs = Array.from({ length: to - from }, (_, at) => from + at);
  return [xs, (pick) => xs.map((hour) => (known.has(hour) ? pick(known.get(hour)) : null))];
}

export function showBytes(target, window, { hours }) {
  const [xs, values] = columns(window, hours);
  const series = [
    { label: "Bytes", fill: "charged", value: bytes },
    { label: "of these included", fill: "included", value: bytes },
  ];
  const data = [xs.map((hour) => hour * 3600), values((h) => h.total_bytes), values((h) => h.included_bytes)];
  draw(target, "bytes", hours, data, series, { window, sum: bytes, tick: bytes, least: 10 }, [
    { title: "Bytes", kind: "number", cell: (hour) => bytes(hour.total_bytes) },
    { title: "Included", kind: "number", cell: (hour) => bytes(hour.included_bytes) },
    { title: "Not rated yet", kind: "number", cell: (hour) => bytes(hour.unrated_bytes) },
  ]);
}

export function showMoney(target, window, { hours }) {
  const [xs, values] = columns(window, hours);
  const series = [{ label: "Amount", fill: "money", value: money }];
  const data = [xs.map((hour) => hour * 3600), values((hour) => Number(hour.amount))];
  draw(target, "money", hours, data, series, { window, sum: money, tick: shortMoney, least: 0 }, [
    { title: "Amount", kind: "number", cell: (hour) => el("span", { title: hour.amount }, money(hour.amount)) },
    { title: "Not rated yet", kind: "number", cell: (hour) => bytes(hour.unrated_bytes) },
  ]);
}

/** `scale`: the window, how a sum and a tick are written, and what the highest tick is at least. */
function draw(target, name, hours, data, series, scale, more) {
  const isOpen = target.querySelector("details")?.open;
  drawn.get(name)?.destroy();
  drawn.delete(name);
  if (!hours.length) return fill(target, nothing("No usage in these hours."));
  const frame = el("div", { class: "chart", role: "img", "aria-label": `${series[0].label} per hour; the table below has the numbers` });
  const sum = data[1].reduce((total, value) => total + (value ?? 0), 0);
  fill(target, el("p", { class: "sum" }, el("strong", {}, scale.sum(sum)), " in these hours"), frame, numbers(hours, more, isOpen));
  const plot = new uPlot(options(frame, series, scale), data, frame);
  drawn.set(name, plot);
  watch(frame, plot);
  return undefined;
}

function options(frame, series, { window, tick, least }) {
  const [from, to] = [window.from_hour, window.to_hour].map((instant) => Date.parse(instant) / 1000);
  const line = { stroke: themed("muted"), grid: { stroke: themed("line"), width: 1 }, ticks: { stroke: themed("line"), width: 1 } };
  return {
    width: Math.max(frame.clientWidth, 200),
    height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    cursor: { sync: { key: CURSOR.key }, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      // A bar reaches from the beginning of its hour to its end: the last one, too.
      x: { range: () => [from, to] },
      y: { range: (_, low, high) => [Math.min(0, low ?? 0), (Math.max(high ?? 0, least) || 1) * 1.08] },
    },
    axes: [
      { ...line, values: hourTicks, space: 60 },
      { ...line, size: roomFor, values: (_, ticks) => ticks.map(tick) },
    ],
    series: [
      { label: "Hour", value: (_, seconds) => (seconds === null ? "–" : hourSpan(seconds * 1000)) },
      ...series.map(({ label, fill: name, value }) => ({
        label,
        fill: themed(name),
        width: 0,
        paths: uPlot.paths.bars({ size: [0.85, 40], align: 1 }),
        points: { show: false },
        value: (_, number) => (number === null ? "–" : value(number)),
      })),
    ],
  };
}

/** As wide as the longest number beside the axis. */
function roomFor(plot, values, index, round) {
  const axis = plot.axes[index];
  if (round > 1) return axis._size;
  plot.ctx.font = axis.font[0];
  const widths = (values ?? []).map((text) => plot.ctx.measureText(text).width / devicePixelRatio);
  return Math.ceil(axis.ticks.size + axis.gap + Math.max(0, ...widths));
}

/** Midnights bear their day, other ticks their hour. */
function hourTicks(_, ticks) {
  return ticks.map((tick) => {
    const date = new Date(tick * 1000);
    const hour = date.getUTCHours();
    if (hour === 0) return date.toLocaleDateString("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });
    return `${String(hour).padStart(2, "0")}:00`;
  });
}

function watch(frame, plot) {
  new ResizeObserver(([entry], observer) => {
    if (!frame.isConnected) observer.disconnect();
    else if (entry.contentRect.width) plot.setSize({ width: entry.contentRect.width, height: HEIGHT });
  }).observe(frame);
}

const numbers = (hours, more, isOpen) =>
  el(
    "details",
    { open: isOpen },
    el("summary", {}, `Numbers of ${count(hours.length)} hours`),
    table("Numbers by hour", [{ title: "Hour", kind: "time", cell: (hour) => hourSpan(hour.hour * HOUR_MS) }, ...more], hours.toReversed()),
  );
