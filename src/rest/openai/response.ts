import type { FinishReason, TokenLogprob } from '../../domain/event.ts';
import type { Model } from '../../domain/model.ts';
import type { ChatResult, ChoiceResult } from '../../domain/result.ts';
import type { Timings, Usage } from '../../domain/usage.ts';
import { encodeJson } from '../../http/event-stream.ts';

/** What every answer of one request has in common. `created` is in seconds since 1970. */
export interface Stamp {
  readonly id: string;
  readonly created: number;
}

const FINISH_REASONS = { stop: 'stop', length: 'length', toolCalls: 'tool_calls' } as const;

export function encodeFinishReason(reason: FinishReason): 'stop' | 'length' | 'tool_calls' {
  return FINISH_REASONS[reason.unified];
}

export function encodeChatCompletion({ id, created }: Stamp, result: ChatResult, wantsLogprobs: boolean) {
  return {
    id,
    object: 'chat.completion' as const,
    created,
    model: result.model,
    choices: result.choices.map((choice, index) => ({
      index,
      message: encodeMessage(choice),
      logprobs: wantsLogprobs ? { content: choice.logprobs.map(encodeLogprob), refusal: null } : null,
      finish_reason: encodeFinishReason(choice.finish),
    })),
    usage: encodeUsage(result.usage),
    timings: encodeTimings(result.timings),
  };
}

function encodeMessage({ text, reasoning, toolCalls }: ChoiceResult) {
  return {
    role: 'assistant' as const,
    content: text === '' && toolCalls.length > 0 ? null : text,
    refusal: null,
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(toolCalls.length > 0 && {
      tool_calls: toolCalls.map(({ id, name, arguments: args }) => ({
        id,
        type: 'function' as const,
        function: { name, arguments: args },
      })),
    }),
  };
}

export function encodeLogprob({ token, logprob, bytes, top }: TokenLogprob) {
  return {
    token,
    logprob,
    bytes: bytes ?? null,
    top_logprobs: top.map((other) => ({
      token: other.token,
      logprob: other.logprob,
      bytes: other.bytes ?? null,
    })),
  };
}

/** Undefined where a count is not known: zero would be a statement, and clients do not expect a null within. */
export function encodeUsage(usage: Usage) {
  const { promptTokens, completionTokens, cachedTokens, reasoningTokens, estimated } = usage;
  if (promptTokens === undefined || completionTokens === undefined) return undefined;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(estimated && { estimated }),
    ...(cachedTokens !== undefined && { prompt_tokens_details: { cached_tokens: cachedTokens } }),
    ...(reasoningTokens !== undefined && {
      completion_tokens_details: { reasoning_tokens: reasoningTokens },
    }),
  };
}

/** Milliseconds, and tokens per second. What was not measured is absent. */
export function encodeTimings(timings: Timings) {
  const round = (value: number | undefined) =>
    value === undefined ? undefined : Math.round(value * 100) / 100;
  return {
    queue_ms: round(timings.queueMs),
    load_ms: round(timings.loadMs),
    prompt_ms: round(timings.promptMs),
    first_token_ms: round(timings.firstTokenMs),
    total_ms: round(timings.totalMs),
    tokens_per_second: round(timings.tokensPerSecond),
  };
}

/**
 * What the last chunk of a stream says besides, as members of it. The warnings are here too, because their header may
 * have gone out before the model was there to have any.
 */
export function encodeEnding(timings: Timings, warnings: readonly string[]): string {
  const warned = warnings.length === 0 ? '' : `,"warnings":${encodeJson([...new Set(warnings)])}`;
  return `"timings":${encodeJson(encodeTimings(timings))}${warned}`;
}

export function encodeEmbeddings(
  model: string,
  vectors: readonly (readonly number[])[],
  { promptTokens }: Usage,
  encoding: 'float' | 'base64',
) {
  return {
    object: 'list' as const,
    data: vectors.map((vector, index) => ({
      object: 'embedding' as const,
      index,
      embedding: encoding === 'base64' ? encodeVector(vector) : vector,
    })),
    model,
    ...(promptTokens !== undefined && {
      usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
    }),
  };
}

/** Little-endian float32 in base64, four bytes a dimension. */
function encodeVector(vector: readonly number[]): string {
  const bytes = Buffer.allocUnsafe(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString('base64');
}

export function encodeModel(model: Model) {
  const slash = model.id.lastIndexOf('/');
  return {
    id: model.id,
    object: 'model' as const,
    created: Math.floor((model.modifiedAt?.getTime() ?? 0) / 1000),
    owned_by: slash > 0 ? model.id.slice(0, slash) : 'library',
    capabilities: model.capabilities,
    context_length: model.contextLength,
    parameter_size: model.parameterSize,
    quantization: model.quantization,
  };
}
