import type { ChatRequest, EmbeddingRequest, Message, ToolChoice } from '../../../src/domain/chat.ts';
import { ERRORS, type ErrorCode } from '../../../src/domain/error.ts';
import { parseEvents } from '../../support/sse.ts';
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

export function createRestDriver(url: string): Driver {
  const post = (path: string, body: object, { authorization, signal }: AskOptions) =>
    fetch(url + path, {
      method: 'POST',
      headers: { ...(authorization && { authorization }), 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    });

  return {
    protocol: 'rest',
    async ask(request, options) {
      try {
        if (request.kind === 'chat') {
          const body = encodeChat(request, options.form === 'streamed');
          const response = await post('/v1/chat/completions', body, options);
          return await readChat(response, request.choices, options);
        }
        return await readEmbeddings(await post('/v1/embeddings', encodeEmbedding(request, options), options));
      } catch (error) {
        if (options.signal.aborted) return {};
        throw error;
      }
    },
  };
}

function encodeChat(request: ChatRequest, stream: boolean) {
  const { sampling, tools, logprobs } = request;
  return {
    model: request.model,
    messages: request.messages.map(encodeMessage),
    ...(stream && { stream, stream_options: { include_usage: true } }),
    ...(tools.length > 0 && {
      tools: tools.map((tool) => ({ type: 'function', function: tool })),
      tool_choice: encodeToolChoice(request.toolChoice),
    }),
    parallel_tool_calls: request.parallelToolCalls,
    response_format: encodeFormat(request),
    n: request.choices,
    reasoning_effort: request.reasoningEffort,
    keep_alive: request.keepAlive,
    ...(logprobs && { logprobs: true, top_logprobs: logprobs.top }),
    max_completion_tokens: sampling.maxOutputTokens,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    min_p: sampling.minP,
    frequency_penalty: sampling.frequencyPenalty,
    presence_penalty: sampling.presencePenalty,
    seed: sampling.seed,
    stop: sampling.stop,
  };
}

function encodeMessage(message: Message) {
  const content = message.content.map((part) =>
    part.type === 'text'
      ? part
      : { type: 'image_url', image_url: { url: `data:${part.mediaType};base64,${part.base64}` } },
  );
  if (message.role === 'tool') return { role: 'tool', tool_call_id: message.toolCallId, content };
  if (message.role !== 'assistant') return { role: message.role, content };
  return {
    role: 'assistant',
    content: content.length > 0 ? content : null,
    reasoning_content: message.reasoning,
    ...(message.toolCalls.length > 0 && {
      tool_calls: message.toolCalls.map(({ id, ...call }) => ({ id, type: 'function', function: call })),
    }),
  };
}

function encodeToolChoice(choice: ToolChoice) {
  return choice.type === 'tool' ? { type: 'function', function: { name: choice.name } } : choice.type;
}

function encodeFormat({ responseFormat: format }: ChatRequest) {
  if (format.type === 'text') return { type: 'text' };
  if (format.type === 'json') return { type: 'json_object' };
  return { type: 'json_schema', json_schema: { name: format.name, schema: format.schema } };
}

function encodeEmbedding(request: EmbeddingRequest, { form }: AskOptions) {
  const { model, inputs, dimensions, keepAlive } = request;
  const encoding_format = form === 'base64' ? 'base64' : 'float';
  return { model, input: inputs, dimensions, keep_alive: keepAlive, encoding_format };
}

interface WireChoice {
  readonly index: number;
  readonly message?: WireMessage;
  readonly delta?: WireMessage;
  readonly finish_reason: string | null;
  readonly logprobs: { readonly content: readonly object[] } | null;
}

interface WireMessage {
  readonly content?: string | null;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly {
    readonly index?: number;
    readonly id?: string;
    readonly function: { readonly name?: string; readonly arguments: string };
  }[];
}

interface WireAnswer {
  readonly id: string;
  readonly model: string;
  readonly choices: readonly WireChoice[];
  readonly usage?: WireUsage | null;
  readonly timings?: Readonly<Record<string, number>>;
  readonly error?: WireError;
}

interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens: number };
}

interface WireError {
  readonly code: string | null;
  readonly type: string;
  readonly param: string | null;
}

async function readChat(response: Response, choices: number, options: AskOptions): Promise<Outcome> {
  const limits = readLimits(response.headers);
  if (!response.ok) return { ...limits, failure: await readFailure(response) };
  const chunks =
    options.form === 'streamed'
      ? await readChunks(response, options.onText)
      : [(await response.json()) as WireAnswer];
  const failed = chunks.at(-1)?.error;
  const id = chunks[0]?.id.replace('chatcmpl-', '');
  const known = { ...(id !== undefined && { id }), ...limits };
  if (failed) return { ...known, failure: decodeFailure(failed, response) };
  return { ...known, chat: fold(chunks, choices, response.headers) };
}

/** @throws Error where the stream lacks `[DONE]` without an error in its place. */
async function readChunks(response: Response, onText: () => void): Promise<readonly WireAnswer[]> {
  const decoder = new TextDecoder();
  let received = '';
  let seen = 0;
  for await (const bytes of response.body ?? []) {
    received += decoder.decode(bytes, { stream: true });
    const { data } = parseEvents(received);
    for (const frame of data.slice(seen)) if (/"content":"[^"]/.test(frame)) onText();
    seen = data.length;
  }
  const { data } = parseEvents(received);
  const chunks = data.filter((frame) => frame !== '[DONE]').map((frame): WireAnswer => JSON.parse(frame));
  const isDone = data.at(-1) === '[DONE]';
  const isFailed = chunks.at(-1)?.error !== undefined;
  if (isDone === isFailed) throw new Error(`a stream has one end: ${received}`);
  return chunks;
}

function fold(chunks: readonly WireAnswer[], count: number, headers: Headers): ChatAnswer {
  const choices = Array.from({ length: count }, (_, index) =>
    foldChoice(chunks.flatMap((chunk) => chunk.choices.filter((choice) => choice.index === index))),
  );
  const usage = chunks.map((chunk) => chunk.usage).find((found) => found !== null && found !== undefined);
  return {
    model: chunks[0]?.model ?? '',
    warnings: headers.get('x-gateway-warnings') ?? '',
    choices,
    usage: {
      promptTokens: usage?.prompt_tokens ?? null,
      completionTokens: usage?.completion_tokens ?? null,
      totalTokens: usage?.total_tokens ?? null,
      cachedTokens: usage?.prompt_tokens_details?.cached_tokens ?? null,
    },
    measured: measuredNames(chunks.at(-1)?.timings ?? {}),
  };
}

function foldChoice(parts: readonly WireChoice[]): ChoiceAnswer {
  const said = parts.map((part) => part.message ?? part.delta ?? {});
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const { tool_calls } of said) {
    for (const [place, call] of (tool_calls ?? []).entries()) {
      const index = call.index ?? place;
      calls[index] ??= { id: call.id ?? '', name: call.function.name ?? '', arguments: '' };
      calls[index].arguments += call.function.arguments;
    }
  }
  const lists = parts.flatMap((part) => part.logprobs?.content ?? []);
  return {
    text: said.map((message) => message.content ?? '').join(''),
    reasoning: said.map((message) => message.reasoning_content ?? '').join(''),
    toolCalls: calls,
    finishReason: parts.map((part) => part.finish_reason).find((reason) => reason !== null) ?? null,
    logprobs: parts.some((part) => part.logprobs !== null) ? lists : null,
  };
}

interface WireEmbeddings {
  readonly model: string;
  readonly usage?: { readonly prompt_tokens: number; readonly total_tokens: number };
  readonly data: readonly { readonly embedding: readonly number[] | string }[];
}

async function readEmbeddings(response: Response): Promise<Outcome> {
  const limits = readLimits(response.headers);
  if (!response.ok) return { ...limits, failure: await readFailure(response) };
  const { model, usage, data } = (await response.json()) as WireEmbeddings;
  const vectors = data.map(({ embedding }) =>
    typeof embedding === 'string' ? decodeVector(embedding) : embedding,
  );
  const counts = { promptTokens: usage?.prompt_tokens ?? null, totalTokens: usage?.total_tokens ?? null };
  const warnings = response.headers.get('x-gateway-warnings') ?? '';
  return { ...limits, embeddings: { model, warnings, vectors, usage: counts } };
}

function readLimits(headers: Headers): Pick<Outcome, 'limits'> {
  const limits: Record<string, { limit: number; remaining: number }> = {};
  for (const [name, header] of [
    ['requests', 'requests'],
    ['tokens', 'tokens'],
    ['concurrency', 'concurrent'],
  ] as const) {
    const limit = headers.get(`x-ratelimit-limit-${header}`);
    if (limit === null) continue;
    const remaining = Number(headers.get(`x-ratelimit-remaining-${header}`));
    limits[name] = { limit: Number(limit), remaining };
  }
  return Object.keys(limits).length > 0 ? { limits } : {};
}

async function readFailure(response: Response): Promise<Failure> {
  const { error } = (await response.json()) as { error: WireError };
  return decodeFailure(error, response);
}

/** Codes of OpenAI's that stand for one of ours under another name. */
const RENAMED: Readonly<Record<string, ErrorCode>> = {
  insufficient_permissions: 'not_permitted',
  request_too_large: 'body_too_large',
};

function decodeFailure({ code, param, type }: WireError, { headers, status }: Response): Failure {
  const field = param === null ? {} : { field: param };
  if (code === 'rate_limit_exceeded') {
    const retryAfter = headers.get('retry-after-ms');
    return {
      code: retryAfter === null ? 'request_too_large' : 'rate_limited',
      ...(type === 'tokens' && { limitName: 'tokens' as const }),
      ...(retryAfter !== null && { retryAfterMs: Number(retryAfter) }),
    };
  }
  if (code === null) return { code: status === 401 ? 'missing_api_key' : 'invalid_request', ...field };
  const named = RENAMED[code] ?? code;
  // Everything else that is not ours says in OpenAI's words what is wrong with a parameter.
  return { code: isErrorCode(named) ? named : 'invalid_request', ...field };
}

function isErrorCode(code: string): code is ErrorCode {
  return code in ERRORS;
}
