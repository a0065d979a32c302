/** The core's pipeline around a scripted provider, or another: what the unit tests of the steps run. */
import type { Call, Handler, InferenceEvent } from '../../src/core/call.ts';
import { CallNotes } from '../../src/core/call.ts';
import { createHandler } from '../../src/core/chat.ts';
import { createPlaces, type Places } from '../../src/core/places.ts';
import type { ChatProvider, Limiter, Telemetry } from '../../src/core/ports.ts';
import type { Abortable } from '../../src/core/signal.ts';
import { type Cancellable, cancellable } from '../../src/core/stream.ts';
import type { ChatRequest, InferenceRequest } from '../../src/domain/chat.ts';
import type { GatewayError } from '../../src/domain/error.ts';
import { estimatePromptTokens } from '../../src/domain/estimate.ts';
import type { ChatEvent, EmbeddingEvent } from '../../src/domain/event.ts';
import type { Claim, Decision } from '../../src/domain/limit.ts';
import type { Backend, Capability, Model } from '../../src/domain/model.ts';
import type { Principal } from '../../src/domain/principal.ts';
import type { UsageRecord } from '../../src/domain/record.ts';
import { createTestClock, type TestClock } from './clock.ts';

export const PRINCIPAL: Principal = {
  keyId: 'key_1',
  name: 'test',
  scopes: ['chat', 'embeddings', 'models'],
  models: [],
  limits: { requestsPerMinute: 60, tokensPerMinute: 10_000, concurrentRequests: 2 },
};

export function chatRequest(change: Partial<ChatRequest> = {}): ChatRequest {
  return {
    kind: 'chat',
    model: 'llama3.1:8b',
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello there' }] }],
    tools: [],
    toolChoice: { type: 'auto' },
    parallelToolCalls: true,
    responseFormat: { type: 'text' },
    sampling: {},
    choices: 1,
    ...change,
  };
}

export function model(id: string, capabilities: readonly Capability[] = ['completion', 'tools']): Model {
  return { id, capabilities };
}

export function backend(id: string, change: Partial<Backend> = {}): Backend {
  const llama = model('llama3.1:8b');
  return {
    id,
    healthy: true,
    models: new Map([[llama.id, llama]]),
    loaded: new Set([llama.id]),
    inFlight: 0,
    ...change,
  };
}

export const started = (backendId = 'ollama-1'): ChatEvent => ({
  type: 'started',
  model: 'llama3.1:8b',
  backend: backendId,
  warnings: [],
});
export const content = (text: string): ChatEvent => ({ type: 'content', choice: 0, text });
export const finished = (completionTokens = 2, promptTokens = 5): ChatEvent => ({
  type: 'finished',
  reasons: [{ unified: 'stop', raw: 'stop' }],
  usage: { promptTokens, completionTokens },
  timings: {},
});

/**
 * What one backend does with one request. It sees the signal that a real client would close its connection on, and says
 * what has come of the backend without becoming an event.
 */
export type Script = (
  signal: Abortable,
  request: InferenceRequest,
  onRead: (withheld: number) => void,
) => AsyncIterable<readonly InferenceEvent[]>;

/** Waits until the signal aborts, and then throws what an aborted connection throws: something of its own. */
export function untilAborted(signal: Abortable): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(new Error('socket closed'));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}

/** A stream that fails at once. */
export function failing(error: Error): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) };
}

export interface Pipeline {
  readonly clock: TestClock;
  readonly places: Places;
  readonly handler: Handler;
  readonly records: UsageRecord[];
  readonly errors: (GatewayError | undefined)[];
  readonly claims: Claim[];
  readonly settled: { readonly id: string; readonly tokens: number }[];
  readonly renewals: Claim[][];
  readonly asked: { readonly backend: string; readonly request: InferenceRequest }[];
  readonly limitHits: string[];
  /** Fleet as the next request sees it. */
  backends: readonly Backend[];
  refresh: () => Promise<void>;
  decide: (claim: Claim) => Decision;
  /** Says that the key of the last request has become invalid. */
  invalidate: (error: GatewayError) => void;
  /** What each backend does, in the order of the requests it gets; the last one repeats. */
  script(backend: string, ...scripts: Script[]): void;
  run(request?: InferenceRequest, change?: Partial<Call>): Cancellable<InferenceEvent>;
}

/** @param perModel requests that a backend gets at a time. */
export function createPipeline(
  other?: ChatProvider,
  { perModel = Number.POSITIVE_INFINITY, maxWaiting = 100 } = {},
): Pipeline {
  const clock = createTestClock();
  const places = createPlaces({ perModel, maxWaiting, patienceMs: 60_000, clock });
  const scripts = new Map<string, Script[]>();
  const pipeline: Pipeline = {
    clock,
    places,
    handler: () => {
      throw new Error('not composed yet');
    },
    records: [],
    errors: [],
    claims: [],
    settled: [],
    renewals: [],
    asked: [],
    limitHits: [],
    backends: [backend('ollama-1')],
    refresh: async () => undefined,
    decide: () => ({ admitted: true, state: { mode: 'exact' } }),
    invalidate: () => undefined,
    script: (id, ...list) => void scripts.set(id, list),
    run(request = chatRequest(), change = {}) {
      const notes = new CallNotes(estimatePromptTokens(request));
      const call = {
        id: 'call_1',
        requestId: 'req_1',
        principal: PRINCIPAL,
        protocol: 'rest' as const,
        operation: 'chat' as const,
        streamed: true,
        isKept: false,
        onRead: undefined,
        startedAt: clock.now(),
        backendId: '',
        notes,
        ...change,
      };
      const outer = change.signal ?? new AbortController().signal;
      return cancellable((signal, end) => handler(request, { ...call, signal, end }), outer);
    },
  };

  async function* play(
    id: string,
    request: InferenceRequest,
    signal: Abortable,
    onRead: (withheld: number) => void = () => undefined,
  ) {
    pipeline.asked.push({ backend: id, request });
    const list = scripts.get(id) ?? [];
    const script = list.length > 1 ? list.shift() : list[0];
    if (script === undefined) throw new Error(`no script for ${id}`);
    yield* script(signal, request, onRead);
  }
  const provider: ChatProvider = other ?? {
    backends: () => pipeline.backends,
    refresh: () => pipeline.refresh(),
    chat: (id, request, signal, onRead) =>
      play(id, request, signal, onRead) as AsyncIterable<readonly ChatEvent[]>,
    embed: (id, request, signal) => play(id, request, signal) as AsyncIterable<readonly EmbeddingEvent[]>,
    close: async () => undefined,
  };
  const limiter: Limiter = {
    async claim(claim) {
      pipeline.claims.push(claim);
      return pipeline.decide(claim);
    },
    async renew(claims) {
      pipeline.renewals.push([...claims]);
    },
    async settle(claim, tokens) {
      pipeline.settled.push({ id: claim.id, tokens });
    },
    peek: async () => ({ mode: 'exact' }),
  };
  const handler = createHandler({
    provider,
    places,
    watch: (_, onInvalid) => {
      pipeline.invalidate = onInvalid;
      return () => undefined;
    },
    limiter,
    clock,
    usage: { record: (record) => void pipeline.records.push(record), flush: async () => undefined },
    telemetry: {
      ...SILENT,
      requestEnded: (_, error) => void pipeline.errors.push(error),
      limitHit: (limit) => void pipeline.limitHits.push(limit),
      keyLookupFailed: () => undefined,
    },
    deadlines: { firstEventMs: 60_000, betweenEventsMs: 10_000, totalMs: 300_000 },
  });
  return Object.assign(pipeline, { handler });
}

export const SILENT: Telemetry = {
  log: () => undefined,
  requestStarted: () => undefined,
  requestEnded: () => undefined,
  firstToken: () => undefined,
  tokenGap: () => undefined,
  limitHit: () => undefined,
  keyLookupFailed: () => undefined,
  recordsLost: () => undefined,
};

export async function collect<T>(stream: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = [];
  for await (const batch of stream) all.push(...batch);
  return all;
}
