// Asks the routes beside the page. In Airflow the session of the browser counts; `billing-etl serve`
// wants its token, which is kept for this tab only.

const TOKEN = "billing-token";

export class AnswerError extends Error {
  constructor(status, detail, body) {
    super(detail);
    this.status = status;
    this.body = body;
  }
}

export const keepToken = (token) => sessionStorage.setItem(TOKEN, token);

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new AnswerError(0, "No answer from the server; is it running?");
  }
  const body = await answer.json().catch(() => ({}));
  // A job that failed answers with its report; everything else that failed has a detail.
  if (!answer.ok && body.run_id === undefined) {
    throw new AnswerError(answer.status, body.detail ?? `The server answered ${answer.status}`, body);
  }
  return { status: answer.status, body };
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null));
  return (await ask(`${path}?${query}`)).body;
}

/** Posts a job; also of one that is under way already it gives the run. */
export const post = (path, content) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
