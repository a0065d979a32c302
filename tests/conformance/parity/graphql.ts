import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { type ChatRequest, type EmbeddingRequest, type Message, textOf } from '../../../src/domain/chat.ts';
import { ERRORS, type ErrorCode } from '../../../src/domain/error.ts';
import type { LimitName } from '../../../src/domain/limit.ts';
import { decodeIdOf } from '../../../src/schema/ids.ts';
import { readEvents } from '../../support/sse.ts';
import {
  type AskOptions,
  type ChatAnswer,
  type ChoiceAnswer,
  type Driver,
  decodeVector,
  type Failure,
  measuredNames,
  type Outcome,
} from './outcome.ts';

const FAILED = /* GraphQL */ `
  fragment Failed on Error {
    __typename
    code
    ... on InvalidRequestError { path }
    ... on CapabilityMissingError { path }
    ... on ModelNotFoundError { path }
    ... on NotPermittedError { path }
    ... on RateLimitedError { limitName retryAfterMs }
  }
`;

const ANSWERED = /* GraphQL */ `
  fragment Used on TokenUsage { promptTokens completionTokens totalTokens cachedTokens }
  fragment Timed on Timings { queueMs loadMs promptMs firstTokenMs totalMs tokensPerSecond }
  fragment Tokens on TokenLogprob { token logprob bytes topLogprobs { token logprob bytes } }
`;

export const CREATE = /* GraphQL */ `
  mutation CreateChat($input: ChatCompletionInput!) {
    answer: createChatCompletion(input: $input) {
      __typename
      ... on ChatCompletion {
        completionId
        model
        warnings
        choices {
          message { content reasoning toolCalls { id name arguments } }
          finishReason
          logprobs { ...Tokens }
        }
        usage { ...Used }
        timings { ...Timed }
      }
      ...Failed
    }
  }
  ${FAILED}
  ${ANSWERED}
`;

export const STREAM = /* GraphQL */ `
  subscription StreamChat($input: ChatCompletionInput!) {
    event: chatCompletion(input: $input) {
      __typename
      completionId
      ... on ChatStarted { model warnings }
      ... on ChatReasoningDelta { choice reasoning }
      ... on ChatContentDelta { choice content logprobs { ...Tokens } }
      ... on ChatToolCallDelta { choice id name arguments }
      ... on ChatFinished {
        choices { choice finishReason }
        usage { ...Used }
        timings { ...Timed }
      }
      ... on ChatFailed { error { ...Failed } }
    }
  }
  ${FAILED}
  ${ANSWERED}
`;

export const EMBED = /* GraphQL */ `
  mutation Embed($input: EmbeddingsInput!, $asBytes: Boolean!) {
    answer: createEmbeddings(input: $input) {
      __typename
      ... on Embeddings {
        completionId
        model
        warnings
        data { vector @skip(if: $asBytes) base64 @include(if: $asBytes) }
        usage { promptTokens totalTokens }
      }
      ...Failed
    }
  }
  ${FAILED}
`;

type Fields = Readonly<Record<string, unknown>>;

interface Reply {
  readonly data?: { readonly answer?: Answer; readonly event?: Event } | null;
  readonly errors?: readonly { readonly extensions: { readonly code: string } }[];
  readonly extensions?: { readonly rateLimit?: Fields };
}

/** What subscriptions go by. */
export type Transport = 'WebSocket' | 'server-sent events';

/** Mutations go by HTTP, and subscriptions by what is said. */
export function createGraphQLDriver(url: string, transport: Transport): Driver {
  const subscribe = transport === 'WebSocket' ? overSocket : asEvents;
  return {
    protocol: 'graphql',
    async ask(request, options) {
      try {
        if (request.kind === 'embedding') {
          const variables = { input: encodeEmbedding(request), asBytes: options.form === 'base64' };
          return readEmbeddings(await post(url, EMBED, variables, options));
        }
        const input = encodeChat(request);
        if (options.form !== 'streamed') return readChat(await post(url, CREATE, { input }, options));
        return foldEvents(await subscribe(url, input, options), request.choices);
      } catch (error) {
        if (options.signal.aborted) return {};
        throw error;
      }
    },
  };
}

async function post(url: string, query: string, variables: Fields, options: AskOptions): Promise<Reply> {
  return (await send(url, query, variables, options)).json();
}

function send(url: string, query: string, variables: Fields, options: AskOptions, accept = '*/*') {
  const { authorization, signal } = options;
  return fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { accept, ...(authorization && { authorization }), 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
    signal,
  });
}

async function asEvents(url: string, input: Fields, options: AskOptions): Promise<readonly Reply[]> {
  const response = await send(url, STREAM, { input }, options, 'text/event-stream');
  // Who has no key gets no stream.
  return response.ok ? collect(readEvents(response), options) : [await response.json()];
}

async function overSocket(url: string, input: Fields, options: AskOptions): Promise<readonly Reply[]> {
  const client: Client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: options.authorization },
    retryAttempts: 0,
  });
  const stream = client.iterate({ query: STREAM, variables: { input } });
  const leave = () => void stream.return?.();
  options.signal.addEventListener('abort', leave, { once: true });
  try {
    const replies = await collect(stream as AsyncIterable<Reply>, options);
    return options.signal.aborted ? [] : replies;
  } finally {
    options.signal.removeEventListener('abort', leave);
    await client.dispose();
  }
}

async function collect(stream: AsyncIterable<Reply>, { onText }: AskOptions): Promise<readonly Reply[]> {
  const replies: Reply[] = [];
  for await (const reply of stream) {
    replies.push(reply);
    if (reply.data?.event?.__typename === 'ChatContentDelta') onText();
  }
  return replies;
}

function encodeChat(request: ChatRequest): Fields {
  const { sampling, tools, logprobs, toolChoice } = request;
  const { maxOutputTokens, ...others } = sampling;
  return {
    model: request.model,
    messages: request.messages.map(encodeMessage),
    ...(tools.length > 0 && {
      tools,
      toolChoice:
        toolChoice.type === 'tool' ? { tool: toolChoice.name } : { mode: toolChoice.type.toUpperCase() },
    }),
    parallelToolCalls: request.parallelToolCalls,
    responseFormat: encodeFormat(request),
    n: request.choices,
    reasoningEffort: request.reasoningEffort?.toUpperCase(),
    keepAliveSeconds: request.keepAlive,
    ...(logprobs && { logprobs: true, topLogprobs: logprobs.top }),
    maxCompletionTokens: maxOutputTokens,
    ...others,
  };
}

function encodeMessage(message: Message): Fields {
  const said = message.content.map((part) =>
    part.type === 'text'
      ? { text: part.text }
      : { image: { url: `data:${part.mediaType};base64,${part.base64}` } },
  );
  const role = message.role.toUpperCase();
  if (message.role === 'tool') {
    const content = textOf(message.content);
    return { role, content: [{ toolResult: { toolCallId: message.toolCallId, content } }] };
  }
  if (message.role !== 'assistant') return { role, content: said };
  const thought = message.reasoning === undefined ? [] : [{ reasoning: message.reasoning }];
  return { role, content: [...thought, ...said, ...message.toolCalls.map((toolCall) => ({ toolCall }))] };
}

function encodeFormat({ responseFormat: format }: ChatRequest): Fields {
  if (format.type === 'jsonSchema') return { jsonSchema: { name: format.name, schema: format.schema } };
  return { type: format.type === 'json' ? 'JSON_OBJECT' : 'TEXT' };
}

function encodeEmbedding({ model, inputs, dimensions, keepAlive }: EmbeddingRequest): Fields {
  return { model, input: inputs, dimensions, keepAliveSeconds: keepAlive };
}

interface Call {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

type Usage = Readonly<Record<string, number | null>>;

interface Failed {
  readonly code: string;
  readonly path?: string | null;
  readonly limitName?: string | null;
  readonly retryAfterMs?: number | null;
}

interface Answer extends Failed {
  readonly __typename: string;
  readonly completionId: string;
  readonly model: string;
  readonly warnings: readonly string[];
  readonly choices: readonly {
    readonly message: {
      readonly content: string | null;
      readonly reasoning: string | null;
      readonly toolCalls: readonly Call[];
    };
    readonly finishReason: string;
    readonly logprobs: readonly Fields[] | null;
  }[];
  readonly data: readonly { readonly vector?: readonly number[]; readonly base64?: string }[];
  readonly usage: Usage;
  readonly timings: Fields;
}

interface Event {
  readonly __typename: string;
  readonly completionId: string;
  readonly choice: number;
  readonly model: string;
  readonly warnings: readonly string[];
  readonly reasoning?: string;
  readonly content?: string;
  readonly logprobs?: readonly Fields[] | null;
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
  readonly choices: readonly { readonly finishReason: string }[];
  readonly usage: Usage;
  readonly timings: Fields;
  readonly error: Failed;
}

function readChat(reply: Reply): Outcome {
  const { data, limits } = unpack(reply);
  const answer = data?.answer;
  if (!answer) return { ...limits, failure: topLevel(reply) };
  if (answer.__typename !== 'ChatCompletion') return { ...limits, failure: decodeFailure(answer) };
  const choices = answer.choices.map(
    ({ message, finishReason, logprobs }): ChoiceAnswer => ({
      text: message.content ?? '',
      reasoning: message.reasoning ?? '',
      toolCalls: message.toolCalls,
      finishReason: finishReason.toLowerCase(),
      logprobs: logprobs?.map(encodeTokens) ?? null,
    }),
  );
  const chat = foldEnd(answer, answer.warnings, answer.model, choices);
  return { id: requestId(answer), ...limits, chat };
}

function foldEvents(replies: readonly Reply[], count: number): Outcome {
  const limits = replies.map((reply) => unpack(reply).limits).find((shown) => shown.limits) ?? {};
  const events = replies.flatMap((reply) => reply.data?.event ?? []);
  const last = events.at(-1);
  if (!last) return replies[0] ? { ...limits, failure: topLevel(replies[0]) } : {};
  const known = { id: requestId(last), ...limits };
  if (last.__typename === 'ChatFailed') return { ...known, failure: decodeFailure(last.error) };
  const choices = Array.from({ length: count }, (_, index): ChoiceAnswer => {
    const parts = events.filter((event) => event.choice === index);
    const tokens = parts.flatMap((part) => part.logprobs ?? []);
    return {
      text: parts.map((part) => part.content ?? '').join(''),
      reasoning: parts.map((part) => part.reasoning ?? '').join(''),
      toolCalls: parts
        .filter((part) => part.__typename === 'ChatToolCallDelta')
        .map(({ id, name, arguments: args }) => ({ id, name, arguments: args })),
      finishReason: last.choices[index]?.finishReason.toLowerCase() ?? null,
      logprobs: parts.some((part) => part.logprobs) ? tokens.map(encodeTokens) : null,
    };
  });
  const started = events.find((event) => event.__typename === 'ChatStarted');
  return { ...known, chat: foldEnd(last, started?.warnings ?? [], started?.model ?? '', choices) };
}

function foldEnd(
  { usage, timings }: Pick<Answer, 'usage' | 'timings'>,
  warnings: readonly string[],
  model: string,
  choices: readonly ChoiceAnswer[],
): ChatAnswer {
  return { model, warnings: warnings.join(' '), choices, usage, measured: measuredNames(timings) };
}

function readEmbeddings(reply: Reply): Outcome {
  const { data, limits } = unpack(reply);
  const answer = data?.answer;
  if (!answer) return { ...limits, failure: topLevel(reply) };
  if (answer.__typename !== 'Embeddings') return { ...limits, failure: decodeFailure(answer) };
  const { model, usage, warnings } = answer;
  const vectors = answer.data.map(({ vector, base64 }) => vector ?? decodeVector(base64 ?? ''));
  return {
    id: requestId(answer),
    ...limits,
    embeddings: { model, warnings: warnings.join(' '), vectors, usage },
  };
}

function unpack({ data, extensions }: Reply): Pick<Reply, 'data'> & { limits: Pick<Outcome, 'limits'> } {
  const limits: Record<string, { limit: number; remaining: number }> = {};
  for (const name of ['requests', 'tokens', 'concurrency']) {
    const state = extensions?.rateLimit?.[name] as { limit: number; remaining: number } | undefined;
    if (state) limits[name] = { limit: state.limit, remaining: state.remaining };
  }
  return { ...(data && { data }), limits: Object.keys(limits).length > 0 ? { limits } : {} };
}

/** OpenAI's names of the same. */
function encodeTokens({ topLogprobs, ...token }: Fields): Fields {
  return { ...token, top_logprobs: topLogprobs };
}

function requestId({ completionId }: { readonly completionId: string }): string {
  return decodeIdOf('Request', completionId) ?? '';
}

function topLevel({ errors }: Reply): Failure {
  return { code: decodeCode(errors?.[0]?.extensions.code) };
}

function decodeFailure({ code, path, limitName, retryAfterMs }: Failed): Failure {
  return {
    code: decodeCode(code),
    ...(typeof path === 'string' && { field: path }),
    ...(typeof limitName === 'string' && { limitName: limitName.toLowerCase() as LimitName }),
    ...(typeof retryAfterMs === 'number' && { retryAfterMs }),
  };
}

function decodeCode(code: string | undefined): ErrorCode {
  const found = Object.keys(ERRORS).find((known) => known.toUpperCase() === code);
  if (found === undefined) throw new Error(`${code} is no code of the catalogue`);
  return found as ErrorCode;
}
