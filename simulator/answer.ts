import { decodeFormat, instanceOf } from './format.ts';
import type { InstalledModel } from './models.ts';
import type { Options } from './options.ts';
import type { GenerateRequest } from './request.ts';
import type { Script } from './script.ts';
import { encodeJson, type JsonObject } from './wire.ts';

/** One of the answer's lines: usually a token of one kind. */
export interface Piece {
  readonly thinking?: string;
  readonly content?: string;
  readonly calls?: readonly WireCall[];
  /** Tokens it stands for: calls take many and come as one line. */
  readonly tokens: number;
}

export interface WireCall {
  readonly id?: string;
  readonly function: { readonly index?: number; readonly name: string; readonly arguments: JsonObject };
}

/** All that a model says to a request. */
export interface Answer {
  readonly pieces: readonly Piece[];
  /** What comes with the last line. */
  readonly last: Piece;
  readonly doneReason: string;
}

const NOTHING: Piece = { tokens: 0 };
const ECHO_LENGTH = 200;
const CALL_TOKENS = 20;
const DEFAULT_THINKING = 'The simulator thinks nothing, and says so step by step.';

const FILLER =
  ' the river runs past a small town where every house has two doors and one of them is always open so that the wind may come and go as it likes'.split(
    /(?= )/,
  );

/** Words with the space before them, and every other character by itself. */
const TOKEN = /\s?[\p{L}\p{M}\p{N}'’]{1,16}|\s?[^\s]|\s/gu;

export function tokenize(text: string): readonly string[] {
  return text.match(TOKEN) ?? [];
}

/**
 * What the model says, given what it was asked and what its script says. Nothing in it is random but the ids of calls.
 * @throws ApiError 500 where the request's format is none.
 */
export function composeAnswer(
  request: GenerateRequest,
  model: InstalledModel,
  options: Options,
  script: Script,
): Answer {
  const thinking = thinkingTokens(request, model, script);
  const calls = request.toolResult === undefined ? (script.toolCalls ?? []) : [];
  const whole = contentTokens(request, script, calls.length > 0);
  const spoken = options.stop.length === 0 ? whole : cutAtStop(whole, options.stop);
  const limit = options.numPredict < 0 ? Number.POSITIVE_INFINITY : options.numPredict;
  const thought = thinking.length > limit ? thinking.slice(0, limit) : thinking;
  const room = limit - thought.length;
  const content = spoken.length > room ? spoken.slice(0, room) : spoken;
  const isCut = thinking.length + spoken.length > limit;
  const pieces = [
    ...joinKinds(thought, content, script),
    ...(isCut || script.toolCallsOn === 'final-line' ? [] : callPieces(calls, script)),
  ];
  return {
    pieces,
    last: lastPiece(content, isCut ? [] : calls, script),
    doneReason: script.doneReason ?? (isCut ? 'length' : 'stop'),
  };
}

function thinkingTokens(request: GenerateRequest, model: InstalledModel, script: Script): readonly string[] {
  if (!model.capabilities.includes('thinking') || request.think === false) return [];
  const { thinking = DEFAULT_THINKING } = script;
  return typeof thinking === 'string' ? tokenize(thinking) : thinking;
}

function contentTokens(request: GenerateRequest, script: Script, callsTools: boolean): readonly string[] {
  const format = decodeFormat(request.format);
  if (typeof script.tokens === 'number') {
    return Array.from({ length: script.tokens }, (_, at) => FILLER[at % FILLER.length] ?? '');
  }
  if (script.tokens !== undefined) return script.tokens;
  if (script.text !== undefined) return tokenize(script.text);
  if (callsTools) return [];
  const said = request.toolResult ?? request.said;
  if (format === 'json')
    return tokenize(encodeJson({ simulator: true, model: request.model, said: excerpt(said) }));
  if (format !== undefined) return tokenize(JSON.stringify(instanceOf(format, excerpt(said))));
  const heard = request.toolResult === undefined ? 'You said' : 'The tool answered';
  return tokenize(
    `This is the simulator speaking as ${request.model}: no model is running. ${heard}: ${excerpt(said)}`,
  );
}

/** The beginning of a text, never with half a character at its end. */
function excerpt(text: string): string {
  if (text.length <= ECHO_LENGTH) return text.toWellFormed();
  return `${text
    .slice(0, ECHO_LENGTH)
    .replace(/[\ud800-\udbff]$/, '')
    .toWellFormed()}…`;
}

function cutAtStop(tokens: readonly string[], stop: readonly string[]): readonly string[] {
  const text = tokens.join('');
  const found = stop.filter((sequence) => sequence !== '').map((sequence) => text.indexOf(sequence));
  const end = Math.min(...found.filter((at) => at >= 0));
  if (end === Number.POSITIVE_INFINITY) return tokens;
  const kept: string[] = [];
  let length = 0;
  for (const token of tokens) {
    if (length >= end) break;
    kept.push(token.slice(0, end - length));
    length += token.length;
  }
  return kept;
}

function joinKinds(
  thinking: readonly string[],
  content: readonly string[],
  script: Script,
): readonly Piece[] {
  const pieces: Piece[] = [];
  for (const token of thinking) pieces.push({ thinking: token, tokens: 1 });
  if (script.contentOnFinalLine === true) return pieces;
  const lastThought = pieces.at(-1)?.thinking;
  const shared = script.thinkingBoundary === true && lastThought !== undefined && content.length > 0;
  if (shared) pieces[pieces.length - 1] = { thinking: lastThought, content: content[0] ?? '', tokens: 2 };
  for (let at = shared ? 1 : 0; at < content.length; at++)
    pieces.push({ content: content[at] ?? '', tokens: 1 });
  return pieces;
}

function callPieces(calls: NonNullable<Script['toolCalls']>, script: Script): readonly Piece[] {
  const wire = encodeCalls(calls, script);
  if (wire.length === 0) return [];
  if (script.toolCallsOn !== 'several-lines') return [{ calls: wire, tokens: CALL_TOKENS * wire.length }];
  return wire.map((call) => ({ calls: [call], tokens: CALL_TOKENS }));
}

function lastPiece(
  content: readonly string[],
  calls: NonNullable<Script['toolCalls']>,
  script: Script,
): Piece {
  const held = script.contentOnFinalLine === true ? content : [];
  const late = script.toolCallsOn === 'final-line' ? encodeCalls(calls, script) : [];
  if (held.length === 0 && late.length === 0) return NOTHING;
  return {
    content: held.join(''),
    ...(late.length > 0 && { calls: late }),
    tokens: held.length + late.length * CALL_TOKENS,
  };
}

function encodeCalls(calls: NonNullable<Script['toolCalls']>, script: Script): readonly WireCall[] {
  return calls.map((call, index) => {
    const made = { name: call.name, arguments: call.arguments };
    if (script.toolCallIds === false) return { function: made };
    return { id: callId(), function: { index, ...made } };
  });
}

function callId(): string {
  let id = 'call_';
  for (let at = 0; at < 8; at++) id += Math.floor(Math.random() * 36).toString(36);
  return id;
}
