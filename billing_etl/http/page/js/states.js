// The states of a source-hour, by the letter that the server gives for each.

export const STATES = {
  f: { name: "failed", text: "its last collection failed", bad: true },
  d: { name: "late", text: "due, and never collected", bad: true },
  p: { name: "partial", text: "snapshots may still come", bad: true },
  l: { name: "lost", text: "the exporter no longer has it", bad: false },
  c: { name: "complete", text: "collected, nothing more will come", bad: false },
  w: { name: "not yet", text: "still running, or just ended", bad: false },
  ".": { name: "not collected", text: "before the source's first hour, or switched off", bad: false },
};

export const LETTERS = Object.keys(STATES);

/** Class names hold no dot. */
export const stateClass = (letter) => `s-${letter === "." ? "n" : letter}`;

/** How many hours have each state, over some sources. */
export function tally(sources) {
  const counts = Object.fromEntries(LETTERS.map((letter) => [letter, 0]));
  for (const source of sources) for (const letter of source.states) counts[letter] += 1;
  return counts;
}
