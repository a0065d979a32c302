import type { z } from 'zod';
import type { ChatRequest, EmbeddingRequest, ResponseFormat, Sampling, Tool } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import { durationSeconds } from '../../domain/keep-alive.ts';
import { ParameterError } from '../errors.ts';
import type { KeepAliveField, SamplingFields } from './fields.ts';
import { decodeMessages } from './messages.ts';
import {
  CHAT_REFUSALS,
  COMPLETION_REFUSALS,
  chatCompletionRequest,
  completionRequest,
  EMBEDDING_REFUSALS,
  embeddingRequest,
} from './parameters.ts';
import { type Choice, chooseTools } from './tools.ts';
import { parseBody } from './validation.ts';

/** How the caller wants a chat or completion answered. */
export interface AnswerForm {
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** What was asked for and has no effect, one sentence each. */
  readonly warnings: readonly string[];
}

export interface DecodedChat extends AnswerForm {
  readonly request: ChatRequest;
}

export interface DecodedCompletion extends AnswerForm {
  /** One per prompt, in their order. */
  readonly requests: readonly ChatRequest[];
  /** What each answer starts with: the prompt where it is echoed. */
  readonly echoes: readonly string[];
}

export interface DecodedEmbedding {
  readonly request: EmbeddingRequest;
  readonly encoding: 'float' | 'base64';
}

type ChatBody = z.output<typeof chatCompletionRequest>;
type WireFunction = Omit<NonNullable<ChatBody['tools']>[number]['function'], 'strict'>;

/** @throws GatewayError for the first parameter that is wrong or not supported. */
export function decodeChat(body: unknown): DecodedChat {
  const parsed = parseBody(chatCompletionRequest, CHAT_REFUSALS, body);
  const top = decodeLogprobs(parsed);
  return {
    request: {
      kind: 'chat',
      model: parsed.model,
      messages: decodeMessages(parsed.messages),
      ...decodeTools(parsed),
      parallelToolCalls: parsed.parallel_tool_calls ?? true,
      responseFormat: decodeResponseFormat(parsed.response_format),
      sampling: decodeSampling(parsed, parsed.max_completion_tokens ?? parsed.max_tokens ?? undefined),
      choices: parsed.n ?? 1,
      ...(parsed.reasoning_effort && { reasoningEffort: parsed.reasoning_effort }),
      ...(top !== undefined && { logprobs: { top } }),
      ...keepAliveOf(parsed),
    },
    ...decodeStreaming(parsed),
    warnings: warningsOf(parsed),
  };
}

/** @throws GatewayError, as `decodeChat`. */
export function decodeCompletion(body: unknown): DecodedCompletion {
  refuseTokens(body, 'prompt');
  const parsed = parseBody(completionRequest, COMPLETION_REFUSALS, body);
  const choices = parsed.n ?? 1;
  const prompts = typeof parsed.prompt === 'string' ? [parsed.prompt] : parsed.prompt;
  if ((parsed.best_of ?? choices) > choices) {
    throw unsupported('best_of', "Choosing among more answers than 'n' is not supported.");
  }
  if (prompts.length * choices > 128) {
    throw new ParameterError(
      'integer_above_max_value',
      'n',
      'At most 128 choices, over all prompts together.',
    );
  }
  const suffix = parsed.suffix || undefined;
  if (suffix !== undefined && prompts.includes('')) {
    throw new ParameterError(
      'invalid_value',
      'prompt',
      "Invalid value for 'prompt': with a 'suffix' it must not be empty.",
    );
  }
  const logprobs = parsed.logprobs ?? undefined;
  if (parsed.echo && logprobs !== undefined) {
    throw unsupported('logprobs', 'The log probabilities of an echoed prompt are not known.');
  }
  const requests = prompts.map(
    (prompt): ChatRequest => ({
      kind: 'chat',
      model: parsed.model,
      messages: [{ role: 'user', content: [{ type: 'text', text: prompt }] }],
      ...(suffix !== undefined && { suffix }),
      tools: [],
      toolChoice: { type: 'none' },
      parallelToolCalls: true,
      responseFormat: { type: 'text' },
      sampling: decodeSampling(parsed, parsed.max_tokens ?? 16),
      choices,
      // Reasoning has no place in this format, and would take the few tokens that the text has.
      reasoningEffort: 'none',
      ...(logprobs !== undefined && { logprobs: { top: logprobs } }),
      ...keepAliveOf(parsed),
    }),
  );
  return {
    requests,
    echoes: prompts.map((prompt) => (parsed.echo ? prompt : '')),
    ...decodeStreaming(parsed),
    warnings: [],
  };
}

/** @throws GatewayError, as `decodeChat`. */
export function decodeEmbedding(body: unknown): DecodedEmbedding {
  refuseTokens(body, 'input', ", with LangChain's OpenAIEmbeddings by check_embedding_ctx_length=False");
  const parsed = parseBody(embeddingRequest, EMBEDDING_REFUSALS, body);
  const dimensions = parsed.dimensions ?? undefined;
  return {
    request: {
      kind: 'embedding',
      model: parsed.model,
      inputs: typeof parsed.input === 'string' ? [parsed.input] : parsed.input,
      ...(dimensions !== undefined && { dimensions }),
      ...keepAliveOf(parsed),
    },
    encoding: parsed.encoding_format ?? 'float',
  };
}

function decodeStreaming(
  parsed: Pick<ChatBody, 'stream' | 'stream_options'>,
): Pick<AnswerForm, 'stream' | 'includeUsage'> {
  const stream = parsed.stream ?? false;
  if (parsed.stream_options && !stream) {
    throw new ParameterError(
      'invalid_value',
      'stream_options',
      "Invalid value for 'stream_options': it is only allowed when 'stream' is true.",
    );
  }
  return { stream, includeUsage: parsed.stream_options?.include_usage ?? false };
}

export function decodeSampling(parsed: SamplingFields, maxOutputTokens: number | undefined): Sampling {
  const { temperature, top_p, top_k, min_p, frequency_penalty, presence_penalty, seed, stop } = parsed;
  const stops = typeof stop === 'string' ? [stop] : (stop ?? []);
  return {
    ...(maxOutputTokens !== undefined && { maxOutputTokens }),
    ...(typeof temperature === 'number' && { temperature }),
    ...(typeof top_p === 'number' && { topP: top_p }),
    ...(typeof top_k === 'number' && { topK: top_k }),
    ...(typeof min_p === 'number' && { minP: min_p }),
    ...(typeof frequency_penalty === 'number' && { frequencyPenalty: frequency_penalty }),
    ...(typeof presence_penalty === 'number' && { presencePenalty: presence_penalty }),
    ...(typeof seed === 'number' && { seed }),
    ...(stops.length > 0 && { stop: stops }),
  };
}

function decodeLogprobs(parsed: Pick<ChatBody, 'logprobs' | 'top_logprobs'>): number | undefined {
  if (parsed.logprobs) return parsed.top_logprobs ?? 0;
  if (typeof parsed.top_logprobs !== 'number') return undefined;
  throw new ParameterError(
    'invalid_value',
    'top_logprobs',
    "Invalid value for 'top_logprobs': it is only allowed when 'logprobs' is true.",
  );
}

function decodeTools(
  parsed: Pick<ChatBody, 'tools' | 'tool_choice'>,
): Pick<ChatRequest, 'tools' | 'toolChoice'> {
  const tools = (parsed.tools ?? []).map(({ function: fn }) => decodeFunction(fn));
  return chooseTools(tools, decodeChoice(parsed.tool_choice ?? 'auto'));
}

/** A declared function, which is the only kind of tool. */
export function decodeFunction({ name, description, parameters }: WireFunction): Tool {
  return {
    name,
    ...(typeof description === 'string' && { description }),
    ...(parameters && { parameters }),
  };
}

function decodeChoice(choice: NonNullable<ChatBody['tool_choice']>): Choice {
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') {
    return { tool: { name: choice.function.name, at: 'tool_choice.function.name' } };
  }
  const { mode, tools } = choice.allowed_tools;
  return {
    mode,
    among: tools.map((tool, index) => ({
      name: tool.function.name,
      at: `tool_choice.allowed_tools.tools[${index}].function.name`,
    })),
  };
}

function decodeResponseFormat(format: ChatBody['response_format']): ResponseFormat {
  if (!format || format.type === 'text') return { type: 'text' };
  if (format.type === 'json_object' || !format.json_schema.schema) return { type: 'json' };
  const { name, schema } = format.json_schema;
  return { type: 'jsonSchema', name, schema };
}

export function keepAliveOf({ keep_alive: wish }: KeepAliveField): { keepAlive?: number } {
  if (wish === undefined || wish === null) return {};
  return { keepAlive: typeof wish === 'number' ? wish : durationSeconds(wish) };
}

function warningsOf(parsed: ChatBody): string[] {
  const isDefault =
    parsed.verbosity === undefined || parsed.verbosity === null || parsed.verbosity === 'medium';
  return !isDefault ? ["'verbosity' has no effect."] : [];
}

/** @param advice how a client that sends tokens by default is told to send text. */
function refuseTokens(body: unknown, field: 'prompt' | 'input', advice = ''): void {
  if (typeof body !== 'object' || body === null) return;
  const value: unknown = Reflect.get(body, field);
  if (!Array.isArray(value)) return;
  if (!value.some((item) => typeof item === 'number' || Array.isArray(item))) return;
  throw new ParameterError(
    'unsupported_value',
    field,
    `Unsupported value for '${field}': arrays of tokens are not supported; send text${advice}.`,
  );
}

function unsupported(param: string, reason: string): GatewayError {
  return new GatewayError('unsupported_parameter', `Unsupported parameter: '${param}'. ${reason}`, { param });
}
