import {
  type ChatRequest,
  type EmbeddingRequest,
  type ImagePart,
  type Message,
  type Sampling,
  type TextPart,
  textOf,
} from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import { allowedKeepAlive } from '../../domain/keep-alive.ts';
import { canonicalModelName, type Model } from '../../domain/model.ts';
import { type ForcedCall, forcedCall } from './forced.ts';
import {
  isWireObject,
  type WireChatRequest,
  type WireEmbedRequest,
  type WireGenerateRequest,
  type WireGeneration,
  type WireMessage,
  type WireOptions,
} from './wire.ts';

/** What the operator fixed for all requests. */
export interface Settings {
  /**
   * Context sizes in tokens by canonical model name, or `*` for every other model. Never taken from a request: a size
   * that differs from the loaded one makes Ollama unload the model and load it again.
   */
  readonly numCtx: ReadonlyMap<string, number>;
  /** How long models stay in memory where the request does not say. Absent: the backend's own setting. */
  readonly keepAlive?: number | string;
}

export interface EncodedChat {
  readonly body: WireChatRequest;
  /** What was asked for and is not sent, one sentence each. */
  readonly warnings: readonly string[];
  /** Present where the answer will be a call to be read out of the constrained text. */
  readonly forced?: ForcedCall;
}

/** The same for a text with a gap. */
export interface EncodedInsertion {
  readonly body: WireGenerateRequest;
  /** As of a chat. */
  readonly warnings: readonly string[];
}

export interface EncodedEmbedding {
  readonly body: WireEmbedRequest;
  /** As of a chat. */
  readonly warnings: readonly string[];
}

/**
 * A chat request as the body of `/api/chat`.
 * @param model as the backend lists it; `undefined` where it does not, which counts as a model without extras.
 * @throws GatewayError `invalid_request` with the field at fault.
 */
export function encodeChat(request: ChatRequest, model: Model | undefined, settings: Settings): EncodedChat {
  const warnings: string[] = [];
  const forced = forcedCall(request);
  const messages = encodeMessages(request.messages, warnings);
  const tools = forced || request.toolChoice.type === 'none' ? [] : request.tools;
  const format = forced?.format ?? encodeFormat(request);
  return {
    warnings,
    ...(forced && { forced }),
    body: {
      messages: forced ? withInstruction(messages, forced.instruction) : messages,
      ...encodeShared(forced ? withoutLogprobs(request, warnings) : request, model, settings, warnings),
      ...(tools.length > 0 && { tools: tools.map(encodeTool) }),
      ...(format !== undefined && { format }),
    },
  };
}

/**
 * A request with a suffix as the body of `/api/generate`, as chats have no gaps.
 * @param model as for a chat.
 */
export function encodeInsertion(
  request: ChatRequest,
  suffix: string,
  model: Model | undefined,
  settings: Settings,
): EncodedInsertion {
  const warnings: string[] = [];
  const prompt = request.messages.map(({ content }) => textOf(content)).join('');
  return { body: { prompt, suffix, ...encodeShared(request, model, settings, warnings) }, warnings };
}

/** @param warnings gets what comes of it. */
function encodeShared(
  request: ChatRequest,
  model: Model | undefined,
  settings: Settings,
  warnings: string[],
): WireGeneration {
  const { logprobs } = request;
  const think = encodeThink(request, model, warnings);
  const options = encodeOptions(request.sampling, contextSize(request.model, settings));
  const keepAlive = allowedKeepAlive(request.keepAlive, warnings) ?? settings.keepAlive;
  return {
    model: request.model,
    stream: true,
    // A prompt that does not fit is an error for the caller to see. Ollama's default drops the oldest messages and says
    // nothing. `shift`, which makes room while the answer grows, stays with the model's default: it is fixed when a
    // model is loaded, so that another value would cost a reload.
    truncate: false,
    ...(options && { options }),
    ...(keepAlive !== undefined && { keep_alive: keepAlive }),
    ...(logprobs && { logprobs: true }),
    ...(logprobs && logprobs.top > 0 && { top_logprobs: logprobs.top }),
    ...(think !== undefined && { think }),
  };
}

/** An embedding request as the body of `/api/embed`. A text that does not fit is an error, as for chat. */
export function encodeEmbedding(request: EmbeddingRequest, settings: Settings): EncodedEmbedding {
  const warnings: string[] = [];
  const numCtx = contextSize(request.model, settings);
  const keepAlive = allowedKeepAlive(request.keepAlive, warnings) ?? settings.keepAlive;
  return {
    warnings,
    body: {
      model: request.model,
      input: request.inputs,
      truncate: false,
      ...(request.dimensions !== undefined && { dimensions: request.dimensions }),
      ...(keepAlive !== undefined && { keep_alive: keepAlive }),
      ...(numCtx !== undefined && { options: { num_ctx: numCtx } }),
    },
  };
}

/**
 * Runs an encoding that walks what the caller sent, to whatever depth the caller chose.
 * @throws GatewayError `invalid_request` where that is deeper than the stack can follow.
 */
export function withinStack<T>(encode: () => T): T {
  try {
    return encode();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new GatewayError('invalid_request', 'The request is nested too deeply.', { cause: error });
  }
}

/** What the message says that brings the images of tools. */
const SHOWN = 'The tools returned these images.';

/**
 * Images that tools have returned follow their results, neighbours being kept together, in a message of the user's: there
 * are templates, that of Qwen3-VL for one, that leave out those of a tool's.
 */
function encodeMessages(messages: readonly Message[], warnings: string[]): WireMessage[] {
  const called = new Map<string, string>();
  const shown: string[] = [];
  const encoded: WireMessage[] = [];
  for (const [index, message] of messages.entries()) {
    encoded.push(encodeMessage(message, index, called, warnings));
    if (message.role !== 'tool') continue;
    shown.push(...imagesOf(message.content));
    const isLast = messages[index + 1]?.role !== 'tool';
    if (isLast && shown.length > 0) encoded.push({ role: 'user', content: SHOWN, images: shown.splice(0) });
  }
  return encoded;
}

function imagesOf(parts: readonly (TextPart | ImagePart)[]): string[] {
  return parts.flatMap((part) => (part.type === 'image' ? [part.base64] : []));
}

/** @param called names of the calls so far, by id: what templates know a result by. The latest call of an id counts. */
function encodeMessage(
  message: Message,
  index: number,
  called: Map<string, string>,
  warnings: string[],
): WireMessage {
  const content = textOf(message.content);
  switch (message.role) {
    case 'system':
      return { role: 'system', content };
    case 'user': {
      const images = imagesOf(message.content);
      return { role: 'user', content, ...(images.length > 0 && { images }) };
    }
    case 'assistant':
      for (const call of message.toolCalls) called.set(call.id, call.name);
      return {
        role: 'assistant',
        content,
        ...(message.reasoning && { thinking: message.reasoning }),
        ...(message.toolCalls.length > 0 && {
          tool_calls: message.toolCalls.map((call, position) => ({
            id: call.id,
            function: {
              index: position,
              name: call.name,
              arguments: parseArguments(call.arguments, index, warnings),
            },
          })),
        }),
      };
    case 'tool': {
      const name = called.get(message.toolCallId);
      return {
        role: 'tool',
        content,
        ...(name !== undefined && { tool_name: name }),
        tool_call_id: message.toolCallId,
      };
    }
  }
}

/** Ollama takes objects only, and a call that was once cut short must not end its conversation for good. */
function parseArguments(text: string, index: number, warnings: string[]): WireToolArguments {
  // What some clients send for a call without arguments.
  if (text.trim() === '') return {};
  try {
    const value: unknown = JSON.parse(text);
    if (isWireObject(value)) return value as WireToolArguments;
  } catch {
    // The same as for JSON that is not an object.
  }
  warnings.push(`The arguments of a tool call in messages[${index}] are no JSON object and were left out.`);
  return {};
}

type WireToolArguments = NonNullable<WireMessage['tool_calls']>[number]['function']['arguments'];

function encodeTool(tool: ChatRequest['tools'][number]) {
  return {
    type: 'function',
    function: {
      name: tool.name,
      ...(tool.description !== undefined && { description: tool.description }),
      // Templates walk the properties, so that a tool without parameters still needs an empty set of them.
      parameters: tool.parameters ?? { type: 'object', properties: {} },
    },
  } as const;
}

function encodeFormat({ responseFormat }: ChatRequest): WireChatRequest['format'] {
  switch (responseFormat.type) {
    case 'text':
      return undefined;
    case 'json':
      return 'json';
    case 'jsonSchema':
      return responseFormat.schema;
  }
}

const THINK = {
  none: false,
  minimal: 'low',
  low: 'low',
  medium: 'medium',
  high: 'high',
  xhigh: 'max',
  max: 'max',
} as const;

/** The family that knows degrees of effort only: Ollama drops a `think` of false, which leaves it at its default. */
const ALWAYS_REASONS = /^gpt-?oss$/;

function encodeThink(
  { reasoningEffort }: ChatRequest,
  model: Model | undefined,
  warnings: string[],
): WireGeneration['think'] {
  if (reasoningEffort === undefined) return undefined;
  if (!model?.capabilities.includes('thinking')) {
    if (reasoningEffort !== 'none') {
      warnings.push('The model does not reason, so the reasoning effort was not applied.');
    }
    return undefined;
  }
  if (reasoningEffort === 'none' && ALWAYS_REASONS.test(model.family ?? '')) {
    warnings.push('The model cannot stop reasoning, so it reasons as little as it can.');
    return THINK.low;
  }
  return THINK[reasoningEffort];
}

function encodeOptions(sampling: Sampling, numCtx: number | undefined): WireOptions | undefined {
  const { maxOutputTokens, temperature, topP, topK, minP, frequencyPenalty, presencePenalty, seed, stop } =
    sampling;
  const options: WireOptions = {
    ...(maxOutputTokens !== undefined && { num_predict: maxOutputTokens }),
    ...(numCtx !== undefined && { num_ctx: numCtx }),
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { top_p: topP }),
    ...(topK !== undefined && { top_k: topK }),
    ...(minP !== undefined && { min_p: minP }),
    ...(frequencyPenalty !== undefined && { frequency_penalty: frequencyPenalty }),
    ...(presencePenalty !== undefined && { presence_penalty: presencePenalty }),
    ...(seed !== undefined && { seed }),
    // An empty list would take the model's own stop strings away.
    ...(stop && stop.length > 0 && { stop }),
  };
  return Object.keys(options).length > 0 ? options : undefined;
}

function contextSize(model: string, settings: Settings): number | undefined {
  return settings.numCtx.get(canonicalModelName(model)) ?? settings.numCtx.get('*');
}

/** The tokens of a forced answer spell the JSON that the calls are read from, which the caller never sees. */
function withoutLogprobs({ logprobs, ...rest }: ChatRequest, warnings: string[]): ChatRequest {
  if (logprobs) warnings.push('An answer that is held to tool calls has no log probabilities.');
  return rest;
}

/** After the caller's own opening system messages: templates merge neighbours, and many read only the opening ones. */
function withInstruction(messages: readonly WireMessage[], instruction: string): readonly WireMessage[] {
  const firstOther = messages.findIndex((message) => message.role !== 'system');
  const at = firstOther < 0 ? messages.length : firstOther;
  return [...messages.slice(0, at), { role: 'system', content: instruction }, ...messages.slice(at)];
}
