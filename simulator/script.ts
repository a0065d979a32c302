import { ApiError, type Json, type JsonObject } from './wire.ts';

/** What a request is answered with, and what goes wrong with it. Everything absent is as a healthy server has it. */
export interface Script {
  /** The answer's text, cut into tokens as the simulator cuts its own. */
  readonly text?: string;
  /** So many tokens of filler, or exactly these. */
  readonly tokens?: number | readonly string[];
  /** What a model that can think thinks first, unless the request switches it off. */
  readonly thinking?: string | readonly string[];
  /** The last token of the thinking and the first of the answer share a line. */
  readonly thinkingBoundary?: boolean;
  /** Calls to make. There is no text before them unless `text` or `tokens` says so. */
  readonly toolCalls?: readonly ScriptedCall[];
  readonly toolCallsOn?: 'one-line' | 'several-lines' | 'final-line';
  /** False: neither id nor index, as servers before 0.12.10. */
  readonly toolCallIds?: boolean;
  /** The whole text comes with the last line, as when a parser has held it back. */
  readonly contentOnFinalLine?: boolean;
  readonly doneReason?: string;

  readonly paceMs?: number;
  readonly loadMs?: number;
  /** How long the prompt takes before the first token. */
  readonly promptMs?: number;

  /** No `prompt_eval_count` and no `eval_count`. */
  readonly omitCounts?: boolean;
  /** Adds `prompt_eval_cached_count`, as servers from 0.34 on. */
  readonly cachedCount?: number;
  /** Replaces or adds fields of the last line, whatever their type. */
  readonly counts?: JsonObject;

  /** An error before the first line. */
  readonly errorStatus?: number;
  /** After so many lines, an error line. With 0 it comes with a 200 and first, as from servers before 0.12.6. */
  readonly errorAfter?: number;
  readonly errorText?: string;
  /** The error's string is itself the JSON of an error. */
  readonly nestedJsonError?: boolean;

  /** After so many lines the body ends well-formed, without a last line. */
  readonly eofAfter?: number;
  /** The connection is reset: on arrival, instead of headers, right after them, or after so many lines. */
  readonly resetAt?: 'accept' | 'headers' | 'body' | number;
  readonly hangBeforeHeaders?: boolean;
  /** After so many lines nothing more comes, and the connection stays. */
  readonly hangAfter?: number;
  /** Starts over when the answer is at its end. */
  readonly neverEnding?: boolean;

  /** The body in pieces of so many bytes, wherever that cuts. */
  readonly splitBytes?: number;
  /** So many lines in a piece. */
  readonly joinLines?: number;
  /** The first line's text is this long. */
  readonly hugeLineBytes?: number;
  /** Something that is not JSON is the first line. */
  readonly garbage?: boolean | string;
  /** Something that is not JSON follows the last line. */
  readonly trailingGarbage?: boolean | string;
  /** The first line has a number for content, or null for a message. */
  readonly wrongTypes?: 'content' | 'message';
  /** The last line is `{"done":true}` and nothing else. */
  readonly emptyFinal?: boolean;

  /** An answer that is not Ollama's at all. It takes no slot. */
  readonly rawStatus?: number;
  readonly rawBody?: string;
  readonly rawHeaders?: Readonly<Record<string, string>>;
  /** A 307 to there. It takes no slot. */
  readonly redirectTo?: string;
  /** A compressed body that unpacks to so many bytes. It takes no slot. */
  readonly gzipBomb?: number;
}

export interface ScriptedCall {
  readonly name: string;
  readonly arguments: JsonObject;
}

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isFlag: Check = (value) => typeof value === 'boolean';
const isFlagOrText: Check = (value) => isFlag(value) || isText(value);
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText);
const upTo =
  (max: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    values.includes(value as string);
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** No delay longer than a day, no count that takes the process down: a script may come from a chat message. */
const DAY_MS = 86_400_000;
const MANY = 1_000_000;
const isDelay = upTo(DAY_MS);
const isCount = upTo(MANY);

const KNOBS: Readonly<Record<keyof Script, Check>> = {
  text: isText,
  tokens: (value) => isCount(value) || isTexts(value),
  thinking: (value) => isText(value) || isTexts(value),
  thinkingBoundary: isFlag,
  toolCalls: (value) =>
    Array.isArray(value) &&
    value.every((call) => isObject(call) && isText(call['name']) && isObject(call['arguments'])),
  toolCallsOn: oneOf('one-line', 'several-lines', 'final-line'),
  toolCallIds: isFlag,
  contentOnFinalLine: isFlag,
  doneReason: isText,
  paceMs: isDelay,
  loadMs: isDelay,
  promptMs: isDelay,
  omitCounts: isFlag,
  cachedCount: (value) => typeof value === 'number',
  counts: isObject,
  errorStatus: (value) => upTo(599)(value) && (value as number) >= 200,
  errorAfter: isCount,
  errorText: isText,
  nestedJsonError: isFlag,
  eofAfter: isCount,
  resetAt: (value) => oneOf('accept', 'headers', 'body')(value) || isCount(value),
  hangBeforeHeaders: isFlag,
  hangAfter: isCount,
  neverEnding: isFlag,
  splitBytes: (value) => isCount(value) && value !== 0,
  joinLines: (value) => isCount(value) && value !== 0,
  hugeLineBytes: upTo(256 * 2 ** 20),
  garbage: isFlagOrText,
  trailingGarbage: isFlagOrText,
  wrongTypes: oneOf('content', 'message'),
  emptyFinal: isFlag,
  rawStatus: (value) => upTo(599)(value) && (value as number) >= 200,
  rawBody: isText,
  rawHeaders: (value) => isObject(value) && Object.values(value).every(isText),
  redirectTo: isText,
  gzipBomb: upTo(2 ** 30),
};

/**
 * A script that came as JSON.
 * @throws ApiError 400 that names the knob at fault.
 */
export function parseScript(value: unknown): Script {
  if (!isObject(value)) throw new ApiError(400, 'simulator: a script is a JSON object');
  for (const [knob, setting] of Object.entries(value)) {
    const check = Object.hasOwn(KNOBS, knob) ? KNOBS[knob as keyof Script] : undefined;
    if (check === undefined) throw new ApiError(400, `simulator: there is no knob ${JSON.stringify(knob)}`);
    if (!check(setting))
      throw new ApiError(400, `simulator: the knob ${JSON.stringify(knob)} cannot be that`);
  }
  return value as Script;
}

export function parseScriptJson(json: string): Script {
  let value: Json;
  try {
    value = JSON.parse(json) as Json;
  } catch {
    throw new ApiError(400, 'simulator: the script is not JSON');
  }
  return parseScript(value);
}

const OPENING = '[[sim:';
const CLOSING = ']]';

/**
 * Takes the script out of a message such as `Hello [[sim:{"tokens":50}]]`.
 * @throws ApiError 400 where there is one and it is wrong.
 */
export function takeDirective(message: string): {
  readonly text: string;
  readonly script: Script | undefined;
} {
  const start = message.indexOf(OPENING);
  const end = start < 0 ? -1 : message.lastIndexOf(CLOSING);
  if (end < start + OPENING.length) return { text: message, script: undefined };
  const script = parseScriptJson(message.slice(start + OPENING.length, end));
  return { text: (message.slice(0, start) + message.slice(end + CLOSING.length)).trim(), script };
}

/** The scripts of one server: those queued for the next requests, then the default. */
export class Scripts {
  readonly #queue: Script[] = [];
  #default: Script;

  constructor(initial: Script) {
    this.#default = initial;
  }

  push(scripts: readonly Script[]): void {
    this.#queue.push(...scripts);
  }

  setDefault(script: Script): void {
    this.#default = script;
  }

  next(): Script {
    return this.#queue.shift() ?? this.#default;
  }
}
