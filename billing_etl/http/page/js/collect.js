// Collects one hour of one source again, and says how far that is.

import { AnswerError, get, post } from "./api.js";
import { address, leaveFrame } from "./airflow.js";
import { el, fill } from "./dom.js";
import { HOUR_MS, count, hourLabel } from "./format.js";

const JOB = "v1/jobs/collect-and-rate";
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 5000;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function collectAgain(site, sourceId, at, button, progress) {
  button.disabled = true;
  const say = (kind, text, runId) => fill(progress, el("p", { class: `note ${kind}` }, text, " ", runLink(site, runId)));
  say("going", "Asking for it …");
  try {
    const run = await start(sourceId, at);
    await follow(run, say, () => progress.isConnected);
    await site.refresh();
  } catch (error) {
    say("bad", refusal(error));
  }
  button.disabled = false;
}

const runLink = (site, runId) =>
  site.run_link && runId
    ? el("a", { href: address(site.run_link.replace("{run_id}", encodeURIComponent(runId))), onclick: leaveFrame }, "Open the run")
    : null;

/** The run that does it: a new one, or the one that is under way already. */
async function start(sourceId, at) {
  const content = { from_hour: hourLabel(at), to_hour: hourLabel(at + HOUR_MS), sources: [sourceId], wait: false };
  const { body } = await post(JOB, content);
  return body;
}

async function follow({ run_id: runId }, say, isWatched) {
  let wait = FIRST_PAUSE_MS;
  while (isWatched()) {
    const report = await get("v1/status", { run_id: runId });
    if (report.status === "ok" || report.status === "partial") {
      const done = `${count(report.processed_samples)} samples, ${count(report.written_minutes)} facts changed`;
      return say(report.status === "ok" ? "good" : "warn", `Collected and rated: ${done}. ${report.error}`, runId);
    }
    if (report.status === "error") return say("bad", `It failed: ${report.error}`, runId);
    say("going", report.status === "queued" ? `It waits for its turn. ${report.error ?? ""}` : "It runs …", runId);
    await pause(wait);
    wait = Math.min(wait * 1.5, LONGEST_PAUSE_MS);
  }
  return undefined;
}

function refusal(error) {
  if (!(error instanceof AnswerError)) return `The page failed: ${error.message}`;
  if (error.status === 403) return "You may not start this: it takes the right to trigger collect_and_rate.";
  return error.message;
}
