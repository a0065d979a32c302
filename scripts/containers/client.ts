/** A caller of the gateway at its one address. */

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** When it was asked and when the answer was complete, in milliseconds of the same clock. */
  readonly startedAt: number;
  readonly endedAt: number;
}

export interface Client {
  get(path: string): Promise<Answer>;
  /** One chat completion of few tokens. @param key absent: this client's own. */
  chat(key?: string): Promise<Answer>;
  /** One that takes about so long, as server-sent events. */
  stream(durationMs: number): Promise<Answer>;
}

const MODEL = 'llama3.1:8b';
const PACE_MS = 50;
const TIMEOUT_MS = 60_000;

export function createClient(url: string, key: string): Client {
  const post = (token: string, message: string, stream: boolean) =>
    ask(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, stream, messages: [{ role: 'user', content: message }] }),
    });
  return {
    get: (path) => ask(url + path),
    chat: (token = key) => post(token, '[[sim:{"tokens":3,"paceMs":5}]]', false),
    stream: (durationMs) =>
      post(key, `[[sim:{"tokens":${Math.ceil(durationMs / PACE_MS)},"paceMs":${PACE_MS}}]]`, true),
  };
}

/** Never rejects: a connection that breaks is status 0, with the reason as its text. */
async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const startedAt = performance.now();
  const end = (status: number, headers: Headers, text: string): Answer => {
    return { status, headers, text, startedAt, endedAt: performance.now() };
  };
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return end(response.status, response.headers, await response.text());
  } catch (error) {
    const { cause = error } = error as Error;
    return end(0, new Headers(), String(cause));
  }
}

export interface Traffic {
  /** Those received so far. */
  readonly answers: readonly Answer[];
  /** Resolves when the last answers are there. */
  stop(): Promise<void>;
}

/** So many callers, each of whom asks again when it has its answer. */
export function startTraffic(callers: number, act: () => Promise<Answer>): Traffic {
  const answers: Answer[] = [];
  let stopped = false;
  const all = Array.from({ length: callers }, async () => {
    while (!stopped) answers.push(await act());
  });
  return {
    answers,
    async stop() {
      stopped = true;
      await Promise.all(all);
    },
  };
}

/** Until `look` finds something. @throws Error `gave up waiting for …` */
export async function until<T>(
  awaited: string,
  look: () => Promise<T | undefined | false>,
  patienceMs = 120_000,
): Promise<T> {
  const giveUpAt = Date.now() + patienceMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > giveUpAt) throw new Error(`gave up waiting for ${awaited}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
