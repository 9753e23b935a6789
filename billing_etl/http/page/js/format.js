// Numbers, instants and durations as a person reads them. Instants are UTC.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const upTo = (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: digits });
const [cents, small] = [upTo(2), upTo(4)];
const tiny = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, notation: "compact" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });

export const HOUR_MS = 3_600_000;

export const count = (value) => whole.format(value ?? 0);

/** "1 hour", "2 hours" */
export const some = (value, name) => `${count(value)} ${name}${Number(value) === 1 ? "" : "s"}`;

export function bytes(value) {
  let left = Number(value ?? 0);
  let unit = 0;
  while (Math.abs(left) >= 1000 && unit < UNITS.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${whole.format(left)} B` : `${left.toPrecision(3)} ${UNITS[unit]}`;
}

/**
 * An amount in the currency of the price book; small ones keep digits that tell them apart. One that
 * is given as text, as the server does, is rounded from all of its digits.
 */
export function money(value) {
  const size = Math.abs(Number(value ?? 0));
  const format = size === 0 || size >= 100 ? cents : size >= 0.01 ? small : tiny;
  return format.format(value ?? 0);
}

/** The same where there is little room, as beside a chart. */
export const shortMoney = (value) => (Math.abs(value) < 100_000 ? tiny : short).format(value);

const two = (number) => String(number).padStart(2, "0");

export const day = (instant) => dayFormat.format(new Date(instant));
export const clock = (instant) => {
  const date = new Date(instant);
  return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
};
export const moment = (instant) => (instant ? `${day(instant)} ${clock(instant)}` : "never");

/** 2026-04-08T12, as the routes take hours. */
export const hourLabel = (instant) => new Date(instant).toISOString().slice(0, 13);

export const hourSpan = (instant) =>
  `${day(instant)}, ${clock(instant)} to ${clock(new Date(instant).getTime() + HOUR_MS)}`;

/** A duration in seconds, in its two largest units. */
export function duration(seconds) {
  const minutes = Math.max(0, Math.floor(Number(seconds) / 60));
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Minutes of an hour as ranges: [0, 1, 2, 7] is "00 to 02, 07". */
export function minuteRanges(minutes, slot = 1) {
  const ranges = [];
  for (const minute of minutes) {
    const last = ranges.at(-1);
    if (last && minute === last[1] + 1) last[1] = minute + slot - 1;
    else ranges.push([minute, minute + slot - 1]);
  }
  return ranges.map(([from, to]) => (from === to ? two(from) : `${two(from)} to ${two(to)}`)).join(", ");
}
