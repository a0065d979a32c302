import { decodeAs, decodeBody } from './body.ts';
import { type Script, takeDirective } from './script.ts';
import { ApiError, parseKeepAlive, quote } from './wire.ts';

/** A decoded request to `/api/chat` or `/api/generate`. */
export interface GenerateRequest {
  readonly kind: 'chat' | 'generate';
  /** As it was written: the answer repeats it. */
  readonly model: string;
  /** Nothing to answer: the request only loads or unloads the model. */
  readonly empty: boolean;
  readonly stream: boolean;
  /** The last message of the user without its directive, or the prompt. */
  readonly said: string;
  /** The result of the tool call that the conversation ends with. */
  readonly toolResult: string | undefined;
  /** What the user's message told the simulator itself. */
  readonly directive: Script | undefined;
  readonly promptTokens: number;
  readonly hasImages: boolean;
  readonly hasTools: boolean;
  readonly hasSuffix: boolean;
  readonly raw: boolean;
  readonly think: boolean | string | undefined;
  readonly format: unknown;
  readonly options: Readonly<Record<string, unknown>>;
  readonly keepAliveMs: number | undefined;
  readonly truncate: boolean;
  readonly shift: boolean;
  /** Alternatives per token, where log probabilities are asked for at all. */
  readonly logprobs: number | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

const IMAGE_TOKENS = 576;
const MESSAGE_TOKENS = 5;

/** @throws ApiError 400. */
export function decodeChatRequest(body: unknown): GenerateRequest {
  const fields = decodeBody(body, 'ChatRequest');
  const messages = (decodeAs('messages', fields['messages'], 'ChatRequest.messages') ?? []).map(
    decodeMessage,
  );
  const shared = decodeShared(fields, 'ChatRequest');
  const tools = decodeTools(fields['tools']);
  const last = messages.at(-1);
  const user = messages.findLast((message) => message.role === 'user');
  return {
    ...shared,
    ...decodeSaid(user?.content ?? ''),
    kind: 'chat',
    empty: messages.length === 0,
    toolResult: last?.role === 'tool' ? last.content : undefined,
    promptTokens: messages.reduce((sum, message) => sum + message.tokens, tools * 40),
    hasImages: messages.some((message) => message.images > 0),
    hasTools: tools > 0,
    hasSuffix: false,
    raw: false,
  };
}

/** @throws ApiError 400. */
export function decodeGenerateRequest(body: unknown): GenerateRequest {
  const fields = decodeBody(body, 'GenerateRequest');
  const shared = decodeShared(fields, 'GenerateRequest');
  const text = (name: string) => decodeAs('string', fields[name], `GenerateRequest.${name}`) ?? '';
  const prompt = text('prompt');
  const context = decodeAs('ints', fields['context'], 'GenerateRequest.context') ?? [];
  const raw = decodeAs('bool', fields['raw'], 'GenerateRequest.raw') ?? false;
  if (raw && (text('template') !== '' || text('system') !== '' || context.length > 0)) {
    throw new ApiError(400, 'raw mode does not support template, system, or context');
  }
  return {
    ...shared,
    ...decodeSaid(prompt),
    kind: 'generate',
    empty: prompt === '',
    toolResult: undefined,
    promptTokens: countTokens(prompt) + countTokens(text('system')) + context.length + MESSAGE_TOKENS,
    hasImages: decodeImages(fields['images'], 'GenerateRequest.images') > 0,
    hasTools: false,
    hasSuffix: text('suffix') !== '',
    raw,
  };
}

function decodeShared(fields: Fields, struct: string) {
  const bool = (name: string) => decodeAs('bool', fields[name], `${struct}.${name}`);
  const top = decodeAs('int', fields['top_logprobs'], `${struct}.top_logprobs`) ?? 0;
  const shared = {
    model: decodeAs('string', fields['model'], `${struct}.model`) ?? '',
    stream: bool('stream') ?? true,
    think: decodeThink(fields['think']),
    format: fields['format'],
    options: decodeAs('map', fields['options'], `${struct}.options`) ?? {},
    keepAliveMs: decodeKeepAlive(fields['keep_alive']),
    truncate: bool('truncate') ?? true,
    shift: bool('shift') ?? true,
    logprobs: bool('logprobs') === true ? top : undefined,
  };
  if (top < 0 || top > 20) throw new ApiError(400, 'top_logprobs must be between 0 and 20');
  return shared;
}

export function decodeKeepAlive(value: unknown): number | undefined {
  return value === undefined || value === null ? undefined : parseKeepAlive(value);
}

function decodeThink(value: unknown): boolean | string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'boolean') return value;
  const allowed = '"high", "medium", "low", "max", true, or false';
  if (typeof value !== 'string') throw new ApiError(400, `think must be a boolean or string (${allowed})`);
  if (['high', 'medium', 'low', 'max'].includes(value)) return value;
  throw new ApiError(400, `invalid think value: ${quote(value)} (must be ${allowed})`);
}

function decodeMessage(value: unknown) {
  const path = 'ChatRequest.messages';
  const message = decodeAs('message', value, path) ?? {};
  const text = (name: string) => decodeAs('string', message[name], `${path}.${name}`) ?? '';
  const content = text('content');
  const thinking = text('thinking');
  text('tool_name');
  text('tool_call_id');
  const calls = decodeAs('toolCalls', message['tool_calls'], `${path}.tool_calls`) ?? [];
  const callTokens = calls.reduce<number>((sum, call) => sum + decodeToolCall(call, `${path}.tool_calls`), 0);
  const images = decodeImages(message['images'], `${path}.images`);
  return {
    role: text('role').toLowerCase(),
    content,
    images,
    tokens:
      countTokens(content) + countTokens(thinking) + callTokens + images * IMAGE_TOKENS + MESSAGE_TOKENS,
  };
}

/** Checks a call of an earlier turn. @returns about how many tokens it takes. */
function decodeToolCall(value: unknown, path: string): number {
  const call = decodeAs('toolCall', value, path) ?? {};
  decodeAs('string', call['id'], `${path}.id`);
  const made = decodeAs('toolCallFunction', call['function'], `${path}.function`) ?? {};
  const name = decodeAs('string', made['name'], `${path}.function.name`) ?? '';
  decodeAs('int', made['index'], `${path}.function.index`);
  const given = decodeAs('arguments', made['arguments'], `${path}.function.arguments`) ?? {};
  return countTokens(name) + countTokens(JSON.stringify(given));
}

function decodeTools(value: unknown): number {
  const path = 'ChatRequest.tools';
  const tools = decodeAs('tools', value, path) ?? [];
  for (const item of tools) {
    const tool = decodeAs('tool', item, path) ?? {};
    decodeAs('string', tool['type'], `${path}.type`);
    const described = decodeAs('toolFunction', tool['function'], `${path}.function`) ?? {};
    decodeAs('string', described['name'], `${path}.function.name`);
    decodeAs('string', described['description'], `${path}.function.description`);
    const parameters = decodeAs('map', described['parameters'], `${path}.function.parameters`) ?? {};
    decodeAs('string', parameters['type'], `${path}.function.parameters.type`);
    decodeAs('map', parameters['properties'], `${path}.function.parameters.properties`);
  }
  return tools.length;
}

function decodeImages(value: unknown, path: string): number {
  const images = decodeAs('images', value, path) ?? [];
  for (const image of images) {
    const base64 = decodeAs('image', image, path) ?? '';
    const wrong = base64.search(/[^A-Za-z0-9+/]/);
    const padded = wrong < 0 || /^={1,2}$/.test(base64.slice(wrong));
    if (!padded) throw new ApiError(400, `illegal base64 data at input byte ${wrong}`);
    if (base64.length % 4 !== 0)
      throw new ApiError(400, `illegal base64 data at input byte ${base64.length}`);
  }
  return images.length;
}

function decodeSaid(message: string) {
  const { text, script } = takeDirective(message);
  return { said: text, directive: script };
}

/** About as many tokens as a tokenizer of these models makes of English. */
export function countTokens(text: string): number {
  return Math.ceil(text.length / 4);
}
