import { Problem } from "./errors.js";
import { askKey, currentKey } from "./keys.js";

/**
 * Asks the server; asks the user for a key where the server wants one, and then again.
 *
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>} one that succeeded.
 * @throws {Problem}
 */
async function ask(path, { method = "GET", body, signal } = {}) {
  for (;;) {
    const key = currentKey();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "The server does not answer. Is it still running?");
    }
    if (answer.ok) return answer;
    const problem = await told(answer);
    if (answer.status !== 401 || !(await askKey(key, problem.message))) throw problem;
  }
}

async function told(answer) {
  let detail = `The server answered ${answer.status} ${answer.statusText}`.trim();
  try {
    detail = (await answer.json()).detail ?? detail;
  } catch {
    // A proxy's own page; the status says enough.
  }
  return new Problem(answer.status, detail);
}

/** @returns {Promise<any>} the answer, as JSON. */
export const getJson = async (path, signal) => (await ask(path, { signal })).json();

/** @returns {Promise<any>} the answer, as JSON. */
export const postJson = async (path, body) => (await ask(path, { method: "POST", body })).json();

/** Deletes, and does not mind where that fails. */
export const drop = (path) => ask(path, { method: "DELETE" }).catch(() => undefined);

/**
 * Follows server-sent events. By fetch, as EventSource can send no key.
 *
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{event: string, data: any}>}
 */
export async function* follow(path, signal) {
  const answer = await ask(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
        if (fields.data) yield { event: fields.event ?? "message", data: JSON.parse(fields.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
