// The states of a source-hour, by the letter that the server gives for each. A cell says its word or
// its mark, as far as it has room.

export const STATES = {
  f: { name: "failed", text: "its last collection failed", word: "fail", mark: "!" },
  d: { name: "late", text: "due, and never collected", word: "late", mark: "?" },
  p: { name: "partial", text: "snapshots may still come", word: "part", mark: "~" },
  l: { name: "lost", text: "the exporter no longer has it", word: "lost", mark: "×" },
  c: { name: "complete", text: "collected, nothing more will come", word: "ok", mark: "" },
  w: { name: "not yet", text: "still running, or just ended", word: "–", mark: "" },
  ".": { name: "not collected", text: "before the source's first hour, or switched off", word: "", mark: "" },
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
