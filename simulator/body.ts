import type { IncomingMessage } from 'node:http';
import { ApiError } from './wire.ts';

/** Reads and decodes a request's body as the server's Go code does: whatever its type, and the first value only. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return decodeJson(Buffer.concat(chunks).toString('utf8'));
}

/** @throws ApiError 400 with a text like that of Go's decoder. */
export function decodeJson(text: string): unknown {
  if (text.trim() === '') throw new ApiError(400, 'missing request body');
  try {
    return JSON.parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : '';
    const position = Number(/at position (\d+)/.exec(message)?.[1] ?? Number.NaN);
    // What follows the first value is not read.
    if (message.startsWith('Unexpected non-whitespace')) return decodeJson(text.slice(0, position));
    throw new ApiError(400, goSyntaxError(message, text, position));
  }
}

const CONTEXTS: readonly (readonly [RegExp, string])[] = [
  [
    /^Expected property name|^Expected double-quoted property name/,
    'looking for beginning of object key string',
  ],
  [/^Expected ':'/, 'after object key'],
  [/^Expected ',' or '}'/, 'after object key:value pair'],
  [/^Expected ',' or '\]'/, 'after array element'],
  [/^Bad control character/, 'in string literal'],
  [/^Bad escaped character|^Bad Unicode escape/, 'in string escape code'],
];

function goSyntaxError(message: string, text: string, position: number): string {
  if (/^Unexpected end|^Unterminated|^Expected .* at position/.test(message) && !(position < text.length)) {
    return 'unexpected EOF';
  }
  const context =
    CONTEXTS.find(([pattern]) => pattern.test(message))?.[1] ?? 'looking for beginning of value';
  const char = Number.isNaN(position) ? /^Unexpected token '(.)'/su.exec(message)?.[1] : text[position];
  return `invalid character ${quoteChar(char ?? text.trim().charAt(0))} ${context}`;
}

function quoteChar(char: string): string {
  if (char === "'") return "'\\''";
  return `'${JSON.stringify(char).slice(1, -1).replace('\\"', '"')}'`;
}

/** The Go type of a field, and whether a JSON value can be decoded into it. */
interface GoType {
  readonly name: string;
  readonly accepts: (value: unknown) => boolean;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const GO = {
  string: { name: 'string', accepts: (value) => typeof value === 'string' },
  bool: { name: 'bool', accepts: (value) => typeof value === 'boolean' },
  int: { name: 'int', accepts: Number.isInteger },
  map: { name: 'map[string]interface {}', accepts: isObject },
  messages: { name: '[]api.Message', accepts: Array.isArray },
  message: { name: 'api.Message', accepts: isObject },
  images: { name: '[]api.ImageData', accepts: Array.isArray },
  image: { name: 'api.ImageData', accepts: (value) => typeof value === 'string' },
  toolCalls: { name: '[]api.ToolCall', accepts: Array.isArray },
  toolCall: { name: 'api.ToolCall', accepts: isObject },
  toolCallFunction: { name: 'api.ToolCallFunction', accepts: isObject },
  arguments: { name: 'api.ToolCallFunctionArguments', accepts: isObject },
  tools: { name: 'api.Tools', accepts: Array.isArray },
  tool: { name: 'api.Tool', accepts: isObject },
  toolFunction: { name: 'api.ToolFunction', accepts: isObject },
  ints: { name: '[]int', accepts: Array.isArray },
} as const satisfies Record<string, GoType>;

interface Decoded {
  string: string;
  bool: boolean;
  int: number;
  map: Readonly<Record<string, unknown>>;
  message: Readonly<Record<string, unknown>>;
  toolCall: Readonly<Record<string, unknown>>;
  toolCallFunction: Readonly<Record<string, unknown>>;
  arguments: Readonly<Record<string, unknown>>;
  tool: Readonly<Record<string, unknown>>;
  toolFunction: Readonly<Record<string, unknown>>;
  image: string;
  messages: readonly unknown[];
  images: readonly unknown[];
  toolCalls: readonly unknown[];
  tools: readonly unknown[];
  ints: readonly unknown[];
}

/**
 * A value as the Go type that its field has; null and absent are the same.
 * @param path e.g. `ChatRequest.messages.content`.
 * @throws ApiError 400 with Go's text.
 */
export function decodeAs<T extends keyof Decoded & keyof typeof GO>(
  type: T,
  value: unknown,
  path: string,
): Decoded[T] | undefined {
  if (value === undefined || value === null) return undefined;
  const { name, accepts } = GO[type];
  if (accepts(value)) return value as Decoded[T];
  throw new ApiError(
    400,
    `json: cannot unmarshal ${jsonKind(value)} into Go struct field ${path} of type ${name}`,
  );
}

/**
 * A whole body.
 * @param struct the Go type of the request, e.g. `ChatRequest`.
 * @throws ApiError 400 where it is JSON and no object.
 */
export function decodeBody(body: unknown, struct: string): Readonly<Record<string, unknown>> {
  if (body === null) return {};
  if (isObject(body)) return body;
  throw new ApiError(400, `json: cannot unmarshal ${jsonKind(body)} into Go value of type api.${struct}`);
}

function jsonKind(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  // Go names the number only where it is the fraction that is wrong.
  if (typeof value === 'number') return Number.isInteger(value) ? 'number' : `number ${value}`;
  return typeof value;
}
