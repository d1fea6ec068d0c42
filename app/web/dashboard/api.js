// The way to the API: the key, requests, and the stream of events.

const KEY = "recording-status key";

export const keyIsKept = () => sessionStorage.getItem(KEY) !== null;
export const keepKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

/** An answer that is no success; `status` 0: no answer came. */
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.detail ?? problem?.title ?? (status ? `the service answered ${status}` : "no answer"));
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: "omit", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { detail: "the service cannot be reached" });
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw new Refused(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
}

/** GET, as JSON; `query` may hold null for what is left out. Throws Refused. */
export async function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return read(await ask(text ? `${path}?${text}` : path));
}

async function read(response) {
  try {
    return await response.json();
  } catch {
    throw new Refused(0, { detail: "the answer broke off" });
  }
}

/** The same, but null where the service has no such route or the key may not. */
export async function getIfThere(path, query) {
  try {
    return await get(path, query);
  } catch (error) {
    if (error.status === 404 || error.status === 403) return null;
    throw error;
  }
}

export const post = async (path) => read(await ask(path, { method: "POST" }));

/** Readiness. Without a key, or while it is down, it answers too. */
export async function readiness() {
  try {
    return await get("/readyz");
  } catch (error) {
    if (error.status !== 503) throw error;
    return { status: "down", checks: null };
  }
}

const SILENCE = 45_000; // ms; a comment comes every 15 s while the stream lives
const SHORTEST = 1_000;
const LONGEST = 30_000;

/**
 * The stream of events, for ever: it comes again where it broke off, more and more patiently.
 *
 * `heard` gets each event; `state` gets "live" or "waiting"; `lost` is called if events were missed, after which the
 * stream goes on with what is yet to come; `refused` gets what a retry does not mend. Returns a function that ends it.
 */
export function follow(position, { heard, state, lost, refused }) {
  const end = new AbortController();
  let last = position;

  async function listen() {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE);
    const signal = AbortSignal.any([end.signal, silence.signal]);
    try {
      const headers = last === null ? {} : { "Last-Event-ID": last };
      const response = await ask("/v1/events/stream", { headers, signal });
      state("live");
      const lines = linesOf(response.body);
      let data = [];
      for await (const line of lines) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE);
        if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
        else if (line.startsWith("id:")) last = line.slice(3).trim();
        else if (line === "" && data.length) {
          heard(JSON.parse(data.join("\n")));
          data = [];
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  (async () => {
    let pause = SHORTEST;
    while (!end.signal.aborted) {
      const began = performance.now();
      let least = 0;
      try {
        await listen();
      } catch (error) {
        if (end.signal.aborted) return;
        if (error.status === 401 || error.status === 403) return refused(error);
        if (error.status === 410) {
          last = null;
          lost();
        }
        least = (error.retryAfter ?? 0) * 1000;
      }
      if (end.signal.aborted) return;
      state("waiting");
      // What lasted did not fail: a service that starts anew is met again at once.
      pause = performance.now() - began > LONGEST ? SHORTEST : Math.min(pause * 2, LONGEST);
      await new Promise((resume) => setTimeout(resume, Math.max(least, pause * (0.5 + Math.random() / 2))));
    }
  })();
  return () => end.abort();
}

async function* linesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n/);
    rest = lines.pop();
    yield* lines;
  }
}
