import type { Caller, Exchange, Report } from '../../src/core/gateway.ts';
import type { Abortable } from '../../src/core/signal.ts';
import { cancellable } from '../../src/core/stream.ts';
import type { ChatRequest, EmbeddingRequest } from '../../src/domain/chat.ts';
import { textOf } from '../../src/domain/chat.ts';
import { GatewayError } from '../../src/domain/error.ts';
import type { ChatEvent, ChatStream, EmbeddingEvent, Finished } from '../../src/domain/event.ts';
import type { LimitsState } from '../../src/domain/limit.ts';
import type { Model } from '../../src/domain/model.ts';
import type { Principal } from '../../src/domain/principal.ts';
import type { RestGateway } from '../../src/rest/context.ts';

export const FAKE_KEY = 'llmgw_fake';

export const FAKE_MODELS: readonly Model[] = [
  {
    id: 'llama3.1:8b',
    family: 'llama',
    parameterSize: '8.0B',
    quantization: 'Q4_K_M',
    contextLength: 131_072,
    capabilities: ['completion', 'tools'],
    modifiedAt: new Date('2026-01-02T03:04:05Z'),
  },
  { id: 'nomic-embed-text:latest', capabilities: ['embedding'] },
  { id: 'qwen2.5-coder:7b', capabilities: ['completion', 'insert'] },
  { id: 'acme/bot:1b', capabilities: ['completion'] },
];

export type ChatScript = (request: ChatRequest, signal: Abortable, caller: Caller) => ChatStream;

/** A gateway without a core: what it answers is a script, and what it was asked is kept. */
export interface FakeGateway extends RestGateway {
  /** Answers chats. A test replaces it. */
  script: ChatScript;
  /** Answers embeddings. */
  vector: (input: string, request: EmbeddingRequest) => readonly number[];
  limits: LimitsState | undefined;
  state: Report;
  /** Whoever holds `FAKE_KEY`. */
  principal: Principal;
  authenticate(authorization: string | undefined): Promise<Principal>;
  readonly requests: (ChatRequest | EmbeddingRequest)[];
  readonly callers: Caller[];
  readonly authorizations: (string | undefined)[];
  /** Exchanges that have begun and not ended. */
  running(): number;
}

const PRINCIPAL: Principal = {
  keyId: 'key_fake',
  name: 'fake',
  scopes: ['chat', 'embeddings', 'models'],
  models: [],
  limits: {},
};

export function createFakeGateway(): FakeGateway {
  let ids = 0;
  let running = 0;

  async function* counted<E>(
    source: (signal: Abortable) => AsyncIterable<readonly E[]>,
    signal: Abortable,
  ): AsyncGenerator<readonly E[]> {
    running++;
    try {
      yield* source(signal);
    } finally {
      running--;
    }
  }

  function exchange<E>(
    caller: Caller,
    source: (signal: Abortable) => AsyncIterable<readonly E[]>,
  ): Exchange<E> {
    return {
      id: `x${ids++}`,
      get limits() {
        return fake.limits;
      },
      events: cancellable((signal) => counted(source, signal), caller.signal),
    };
  }

  const fake: FakeGateway = {
    script: echo,
    vector: (input) => [input.length, 0.5, -1],
    limits: undefined,
    state: { ready: true, draining: false, dependencies: [{ name: 'database', state: 'embedded' }] },
    principal: PRINCIPAL,
    requests: [],
    callers: [],
    authorizations: [],
    running: () => running,
    async authenticate(authorization) {
      fake.authorizations.push(authorization);
      if (authorization === undefined) throw new GatewayError('missing_api_key', 'Send an API key.');
      if (authorization === `Bearer ${FAKE_KEY}`) return fake.principal;
      throw new GatewayError('invalid_api_key', 'Incorrect API key provided.');
    },
    chat(request, caller) {
      fake.requests.push(request);
      fake.callers.push(caller);
      return exchange<ChatEvent>(caller, (signal) =>
        withKnownModel(request.model, fake.script(request, signal, caller)),
      );
    },
    embed(request, caller) {
      fake.requests.push(request);
      fake.callers.push(caller);
      return exchange<EmbeddingEvent>(caller, () => embed(request, fake.vector));
    },
    listModels: () => FAKE_MODELS,
    async getModel(_principal, id) {
      const model = FAKE_MODELS.find((candidate) => candidate.id === id);
      if (model) return model;
      throw unknownModel(id);
    },
    report: () => fake.state,
  };
  return fake;
}

function unknownModel(id: string): GatewayError {
  return new GatewayError(
    'model_not_found',
    `The model \`${id}\` does not exist or you do not have access to it.`,
    {
      param: 'model',
    },
  );
}

async function* withKnownModel(id: string, stream: ChatStream): ChatStream {
  if (!FAKE_MODELS.some((model) => model.id === id)) throw unknownModel(id);
  yield* stream;
}

async function* embed(
  request: EmbeddingRequest,
  vector: FakeGateway['vector'],
): AsyncGenerator<readonly EmbeddingEvent[]> {
  const vectors = request.inputs.map((input) => vector(input, request));
  yield [
    { type: 'embedded', model: request.model, warnings: [], vectors },
    { type: 'finished', reasons: [], usage: { promptTokens: 7 }, timings: { totalMs: 1 } },
  ];
}

export const started = (model = 'llama3.1:8b'): ChatEvent => ({
  type: 'started',
  model,
  backend: 'ollama-1',
  warnings: [],
});

export const content = (text: string, choice = 0): ChatEvent => ({ type: 'content', choice, text });

export const finished = (over: Partial<Finished> = {}): Finished => ({
  type: 'finished',
  reasons: [{ unified: 'stop', raw: 'stop' }],
  usage: { promptTokens: 5, completionTokens: 3 },
  timings: { queueMs: 1, loadMs: 2, promptMs: 3, firstTokenMs: 4, totalMs: 10, tokensPerSecond: 30 },
  ...over,
});

/** Says the last message back, word for word; calls the first tool where it may and nobody has answered it. */
async function* echo(request: ChatRequest): ChatStream {
  yield [{ type: 'queued', position: 0 }, started(request.model)];
  const last = request.messages.at(-1);
  const [tool] = request.tools;
  const calls = tool !== undefined && request.toolChoice.type !== 'none' && last?.role !== 'tool';
  const unified = calls ? ('toolCalls' as const) : ('stop' as const);
  for (let choice = 0; choice < request.choices; choice++) {
    if (calls) {
      const call = { id: `call_${choice}`, name: tool.name, arguments: '{"city":"Paris"}' };
      yield [{ type: 'toolCall', choice, index: 0, ...call }];
    } else if (request.responseFormat.type !== 'text') yield [content('{"city":"Paris"}', choice)];
    else {
      const words = textOf(last?.content ?? []).split(/(?<=\s)/);
      for (const text of words) {
        const logprobs = request.logprobs && { logprobs: [{ token: text, logprob: -0.1, top: [] }] };
        yield [{ type: 'content', choice, text, ...logprobs }];
      }
    }
  }
  yield [finished({ reasons: Array.from({ length: request.choices }, () => ({ unified, raw: 'stop' })) })];
}
