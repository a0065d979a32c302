/** Clients of every kind that ask without a pause, and what becomes of their requests. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'graphql-ws';
import OpenAI from 'openai';
import { Agent, fetch as fetchBy } from 'undici';
import { connect, streamAnswer } from '../../examples/plain.ts';
import type { Script } from '../../simulator/server.ts';
import { parseEvents } from './sse.ts';

export interface Target {
  readonly url: string;
  /** A key's secret. */
  readonly secret: string;
}

/** A client. Its `ask` resolves with the text of a whole answer, and rejects with whatever kept it from being whole. */
export interface Asker {
  ask(script: Script, requestId: string): Promise<string>;
  close(): Promise<unknown>;
}

const MODEL = 'llama3.1:8b';

function question(script: Script): string {
  return `Say hello. [[sim:${JSON.stringify(script)}]]`;
}

/** The OpenAI SDK, which makes a new connection for each request and tries none again. */
export function streamedByRest(target: Target): Asker {
  const { client, close } = createOpenAI(target, { keepAlive: false });
  return { ask: (script, requestId) => readStream(client, script, requestId), close };
}

/** The same, for answers in one piece. */
export function wholeByRest(target: Target): Asker {
  const { client, close } = createOpenAI(target, { keepAlive: false });
  return {
    async ask(script, requestId) {
      const messages = [{ role: 'user' as const, content: question(script) }];
      const options = { headers: { 'x-client-request-id': requestId } };
      const { choices } = await client.chat.completions.create({ model: MODEL, messages }, options);
      return requireText(choices[0]?.message.content);
    },
    close,
  };
}

/** The OpenAI SDK as it comes: it keeps connections, and tries twice more where one breaks before it is answered. */
export function streamedByDefaultRest(target: Target): Asker {
  const { client, close } = createOpenAI(target, { keepAlive: true });
  return { ask: (script, requestId) => readStream(client, script, requestId), close };
}

/** A subscription as server-sent events, on a new connection each. */
export function streamedByGraphQL({ url, secret }: Target): Asker {
  const dispatcher = new Agent({ pipelining: 0 });
  return {
    async ask(script, requestId) {
      const input = { model: MODEL, messages: [{ role: 'USER', content: [{ text: question(script) }] }] };
      const query = `subscription ($input: ChatCompletionInput!) {
        event: chatCompletion(input: $input) {
          __typename
          ... on ChatContentDelta { content }
          ... on ChatFailed { error { code message } }
        }
      }`;
      const init = {
        method: 'POST',
        headers: {
          authorization: `Bearer ${secret}`,
          'content-type': 'application/json',
          accept: 'text/event-stream',
          'x-client-request-id': requestId,
        },
        body: JSON.stringify({ query, variables: { input } }),
        dispatcher,
      };
      const response = await fetchBy(`${url}/graphql`, init);
      const body = await response.text();
      if (response.status !== 200) throw new Error(`HTTP ${response.status}: ${body}`);
      return readEvents(body);
    },
    close: () => dispatcher.close(),
  };
}

/** A subscription on a WebSocket that all of its answers share, by the client that the documentation recommends. */
export function streamedByWebSocket(target: Target): Asker {
  const client: Client = connect({ url: `${target.url}/graphql`, key: target.secret });
  return {
    async ask(script) {
      let text = '';
      const input = {
        model: MODEL,
        messages: [{ role: 'USER' as const, content: [{ text: question(script) }] }],
      };
      const end = await streamAnswer(client, input, (piece) => {
        text += piece;
      });
      if (end?.__typename === 'ChatFailed') throw new Error(`${end.error.code}: ${end.error.message}`);
      if (end === undefined) throw new Error('the subscription ended without a last event');
      return requireText(text);
    },
    close: async () => client.dispose(),
  };
}

function createOpenAI({ url, secret }: Target, { keepAlive }: { readonly keepAlive: boolean }) {
  const dispatcher = new Agent({ pipelining: keepAlive ? 1 : 0 });
  const client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: secret,
    // The same as the global one, but of a version that takes this dispatcher.
    fetch: (input, init) =>
      fetchBy(input as string, { ...(init as object), dispatcher }) as unknown as Promise<Response>,
    ...(!keepAlive && { maxRetries: 0 }),
  });
  return { client, close: () => dispatcher.close() };
}

async function readStream(client: OpenAI, script: Script, requestId: string): Promise<string> {
  const messages = [{ role: 'user' as const, content: question(script) }];
  const stream = await client.chat.completions.create(
    { model: MODEL, messages, stream: true },
    { headers: { 'x-client-request-id': requestId } },
  );
  let text = '';
  let finished = false;
  for await (const { choices } of stream) {
    text += choices[0]?.delta.content ?? '';
    if (choices[0]?.finish_reason) finished = true;
  }
  if (!finished) throw new Error('the stream ended without a finish_reason');
  return requireText(text);
}

function readEvents(body: string): string {
  let text = '';
  let finished = false;
  for (const data of parseEvents(body).data) {
    if (data === '') continue;
    const { data: result, errors } = JSON.parse(data);
    const { __typename, content, error } = result?.event ?? {};
    if (errors || error) throw new Error(JSON.stringify(errors ?? error));
    text += content ?? '';
    if (__typename === 'ChatFinished') finished = true;
  }
  if (!finished) throw new Error('the stream ended without ChatFinished');
  return requireText(text);
}

function requireText(text: string | null | undefined): string {
  if (!text) throw new Error('the answer is empty');
  return text;
}

export interface Failure {
  readonly kind: string;
  readonly requestId: string;
  /** When it was asked, in milliseconds since 1970. */
  readonly askedAt: number;
  /** When that came to nothing, likewise. */
  readonly failedAt: number;
  readonly cause: string;
}

/** What became of the requests of a load so far. */
export interface Outcome {
  /** The ids of the requests that were answered in full. */
  readonly completed: readonly string[];
  /** How long each of those took, in milliseconds, in the same order. */
  readonly elapsedMs: readonly number[];
  readonly failed: readonly Failure[];
}

export interface Load extends Outcome {
  /** Resolves when so many more requests have been answered than when it was called. */
  untilCompleted(more: number): Promise<void>;
  /** Begins nothing more. Resolves when all that runs has ended. */
  stop(): Promise<Outcome>;
}

/** One kind of client and what all of these ask for. */
export interface LoadPart {
  readonly create: (target: Target) => Asker;
  /** Clients; one by default. */
  readonly clients?: number;
  /** Requests that each of them has under way at any time; one by default. */
  readonly atOnce?: number;
  /** Where its tokens are listed, an answer is whole only if it is all of them, in their order. */
  readonly script: Script;
}

export interface LoadOptions {
  /** With so many failures a load gives up. Enough to see what is wrong: 200 by default. */
  readonly mostFailures?: number;
  /** How long a client waits after a failure before it asks again. Not at all by default. */
  readonly pauseMs?: number;
  /** The clients begin one after the other within this time, and so stay out of step. All at once by default. */
  readonly rampMs?: number;
}

/** A deployment that is away refuses thousands a second. */
const MOST_FAILURES = 200;

/** Tokens of which none can be missing, doubled or out of place without a trace. */
export function countTo(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => ` ${index + 1}`);
}

/** Over all loads, so that no two requests of a test have the same id. */
let count = 0;

/** @param parts by name, which begins the ids of their requests. */
export function startLoad(
  target: Target,
  parts: Readonly<Record<string, LoadPart>>,
  { mostFailures = MOST_FAILURES, pauseMs = 0, rampMs = 0 }: LoadOptions = {},
): Load {
  const completed: string[] = [];
  const elapsedMs: number[] = [];
  const failed: Failure[] = [];
  let stopping = false;
  let wake = () => {};

  const askOn = async (kind: string, asker: Asker, script: Script) => {
    while (!stopping && failed.length < mostFailures) {
      const requestId = `${kind}-${++count}`;
      const askedAt = Date.now();
      let paused: Promise<unknown> | undefined;
      try {
        requireWhole(await asker.ask(script, requestId), script);
        completed.push(requestId);
        elapsedMs.push(Date.now() - askedAt);
      } catch (thrown) {
        failed.push({ kind, requestId, askedAt, failedAt: Date.now(), cause: describe(thrown) });
        if (pauseMs > 0) paused = sleep(pauseMs);
      }
      wake();
      await paused;
    }
  };
  const askers: Asker[] = [];
  const begin = Object.entries(parts).flatMap(([kind, { create, clients = 1, atOnce = 1, script }]) =>
    Array.from({ length: clients }, () => create(target)).flatMap((asker) => {
      askers.push(asker);
      return Array.from({ length: atOnce }, () => () => askOn(kind, asker, script));
    }),
  );
  const running = begin.map(async (ask, index) => {
    if (rampMs > 0) await sleep((rampMs * index) / begin.length);
    await ask();
  });
  return {
    completed,
    elapsedMs,
    failed,
    async untilCompleted(more) {
      const enough = completed.length + more;
      while (completed.length < enough) {
        if (failed.length >= mostFailures) throw new Error(`nothing but failures: ${failed[0]?.cause}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async stop() {
      if (stopping) return { completed, elapsedMs, failed };
      stopping = true;
      await Promise.all(running);
      await Promise.all(askers.map((asker) => asker.close()));
      return { completed, elapsedMs, failed };
    },
  };
}

function requireWhole(text: string, { tokens }: Script): void {
  if (typeof tokens === 'object' && text !== tokens.join(''))
    throw new Error('the text is not what was said');
}

/** With its causes, which is where `fetch` says what happened. */
function describe(thrown: unknown): string {
  const { message, cause, code, reason } = thrown as Partial<Error & CloseEvent>;
  if (message === undefined) return code === undefined ? String(thrown) : `closed with ${code} ${reason}`;
  return cause === undefined ? message : `${message} (${describe(cause)})`;
}
