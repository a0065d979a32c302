import type { ToolCall } from '../../../domain/chat.ts';
import type { GatewayError } from '../../../domain/error.ts';
import type { FinishReason, TokenLogprob } from '../../../domain/event.ts';
import type { ChatResult } from '../../../domain/result.ts';
import type { Timings, Usage } from '../../../domain/usage.ts';
import { encodeError } from '../../errors.ts';
import { encodeLogprob, encodeTimings } from '../response.ts';
import type { DecodedResponse } from './request.ts';

/** What is known of a response before there is any answer. */
export interface ResponseForm extends Pick<DecodedResponse, 'echo' | 'thoughts'> {
  /** Of the exchange: response and items show it behind their own prefixes. */
  readonly id: string;
  /** In seconds since 1970. */
  readonly createdAt: number;
}

export type ItemStatus = 'in_progress' | 'completed' | 'incomplete';
export type OutputItem = ReturnType<TextKind['item']> | ReturnType<typeof encodeCall>;

/** An item that is a text, as a message is and what was thought: how it looks, and what its events are called. */
export interface TextKind {
  readonly prefix: string;
  /** Events: of the text, and of the part of the item that holds it. */
  readonly events: { readonly text: string; readonly part: string };
  /** The name of a part's index in events. */
  readonly index: 'content_index' | 'summary_index';
  part(text: string, logprobs: readonly TokenLogprob[]): { readonly type: string; readonly text: string };
  item(id: string, status: ItemStatus, parts: readonly ReturnType<TextKind['part']>[]): object;
}

export const MESSAGE: TextKind = {
  prefix: 'msg',
  events: { text: 'response.output_text', part: 'response.content_part' },
  index: 'content_index',
  part: (text, logprobs) => ({
    type: 'output_text',
    text,
    annotations: [],
    logprobs: logprobs.map(encodeLogprob),
  }),
  item: (id, status, content) => ({ id, type: 'message', status, role: 'assistant', content }),
};

/** What was thought, in either place: a summary where one was asked for, though it is no summary. */
export const THOUGHTS: Readonly<Record<ResponseForm['thoughts'], TextKind>> = {
  content: {
    prefix: 'rs',
    events: { text: 'response.reasoning_text', part: 'response.content_part' },
    index: 'content_index',
    part: (text) => ({ type: 'reasoning_text', text }),
    item: (id, status, content) => ({ id, type: 'reasoning', status, summary: [], content }),
  },
  summary: {
    prefix: 'rs',
    events: { text: 'response.reasoning_summary_text', part: 'response.reasoning_summary_part' },
    index: 'summary_index',
    part: (text) => ({ type: 'summary_text', text }),
    item: (id, status, summary) => ({ id, type: 'reasoning', status, summary }),
  },
};

export function itemId(prefix: string, { id }: Pick<ResponseForm, 'id'>, index: number): string {
  return `${prefix}_${id}_${index}`;
}

export function encodeCall(id: string, status: ItemStatus, { id: call_id, name, arguments: args }: ToolCall) {
  return { id, type: 'function_call' as const, status, call_id, name, arguments: args };
}

/** How a response stands, or ended. */
export interface ResponseState {
  readonly status: 'in_progress' | 'completed' | 'incomplete' | 'failed';
  readonly model: string;
  readonly output: readonly OutputItem[];
  readonly usage?: Usage;
  /** In seconds since 1970. */
  readonly completedAt?: number;
  readonly error?: GatewayError;
  readonly timings?: Timings;
  readonly warnings?: readonly string[];
}

export function encodeResponse({ id, createdAt, echo }: ResponseForm, state: ResponseState) {
  const { status, error, timings, warnings = [] } = state;
  return {
    id: `resp_${id}`,
    object: 'response' as const,
    created_at: createdAt,
    completed_at: state.completedAt ?? null,
    status,
    error: error ? encodeResponseError(error) : null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' as const } : null,
    model: state.model,
    output: state.output,
    usage: state.usage ? encodeResponseUsage(state.usage) : null,
    ...echo,
    ...(timings && { timings: encodeTimings(timings) }),
    ...(warnings.length > 0 && { warnings: [...new Set(warnings)] }),
  };
}

/** An answer that is given in one piece. */
export function encodeResult(
  form: ResponseForm,
  result: ChatResult,
  completedAt: number,
  warnings: readonly string[],
) {
  const { model, usage, timings } = result;
  const [choice] = result.choices;
  const output: OutputItem[] = [];
  const add = (kind: TextKind, status: ItemStatus, text: string, logprobs: readonly TokenLogprob[]) => {
    const id = itemId(kind.prefix, form, output.length);
    output.push(kind.item(id, status, [kind.part(text, logprobs)]));
  };
  if (choice) {
    const { text, reasoning, toolCalls, logprobs, finish } = choice;
    const isLast = toolCalls.length === 0;
    if (reasoning !== '') add(THOUGHTS[form.thoughts], 'completed', reasoning, []);
    if (text !== '' || isLast) add(MESSAGE, isLast ? endStatus(finish) : 'completed', text, logprobs);
    for (const call of toolCalls) {
      output.push(encodeCall(itemId('fc', form, output.length), 'completed', call));
    }
  }
  const status = choice ? endStatus(choice.finish) : 'completed';
  return encodeResponse(form, { status, model, output, usage, completedAt, timings, warnings });
}

export function endStatus({ unified }: FinishReason): 'completed' | 'incomplete' {
  return unified === 'length' ? 'incomplete' : 'completed';
}

function encodeResponseError(error: GatewayError) {
  const { code, message } = encodeError(error).error;
  return { code: code ?? 'server_error', message };
}

/**
 * Null where a count is not known. The details are 0 where theirs are not: the official SDKs' types, and what is built
 * on them, cannot do without.
 */
function encodeResponseUsage(usage: Usage) {
  const { promptTokens, completionTokens, cachedTokens, reasoningTokens, estimated } = usage;
  if (promptTokens === undefined || completionTokens === undefined) return null;
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens ?? 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens ?? 0 },
    total_tokens: promptTokens + completionTokens,
    ...(estimated && { estimated }),
  };
}
