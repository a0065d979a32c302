import { GatewayError, toGatewayError } from '../../domain/error.ts';
import type { ChatEvent, Finished, FinishReason } from '../../domain/event.ts';
import { createId } from '../../domain/id.ts';
import { decodeErrorLine } from './errors.ts';
import { type ForcedAnswer, type ForcedCall, parseForced, readCutShort } from './forced.ts';
import { createLineSplitter } from './lines.ts';
import { decodeLogprobs } from './logprobs.ts';
import { isWireObject, parseCount, parseDurationMs, type WireObject } from './wire.ts';

/** What the decoder must know of the request. */
export interface ChatContext {
  readonly model: string;
  /** The backend's label. */
  readonly backend: string;
  readonly warnings: readonly string[];
  readonly forced?: ForcedCall;
  readonly parallelToolCalls: boolean;
  readonly logprobs: boolean;
  /** Whether the answer is held to a format, a forced call's included. */
  readonly constrained: boolean;
  readonly randomBytes: (count: number) => Uint8Array;
}

/** Bytes of a `/api/chat` answer in, events out. Pure but for the random ids of calls that come without one. */
export interface ChatDecoder {
  /**
   * The events of the lines that these bytes complete; empty where there are none. Never throws: what is wrong is in
   * `failure`, so that the events before it are not lost.
   */
  push(bytes: Buffer): readonly ChatEvent[];
  /** As `push`, for the end of the bytes. Afterwards the decoder has either finished or failed. */
  end(): readonly ChatEvent[];
  /** Pieces of output among the last bytes that no event shows, as a forced answer is held back as a whole. */
  readonly withheld: number;
  /** True after the last line. Whatever comes then is ignored. */
  readonly finished: boolean;
  readonly failure: GatewayError | undefined;
}

/** A forced answer is held back as a whole; this is as much as a tool call may be, in characters. */
const MAX_FORCED_CHARACTERS = 16 * 1024 * 1024;

export function createChatDecoder(context: ChatContext): ChatDecoder {
  const lines = createLineSplitter();
  const answer = createAnswer(context);
  let failure: GatewayError | undefined;
  let withheldBefore = 0;

  const guarded = (read: (events: ChatEvent[]) => void): readonly ChatEvent[] => {
    const events: ChatEvent[] = [];
    withheldBefore = answer.withheld;
    if (failure || answer.finished) return events;
    try {
      read(events);
    } catch (error) {
      // The stack can follow what a model writes into a tool call only so deep.
      failure = error instanceof RangeError ? incomplete('nested too deeply') : toGatewayError(error);
    }
    return events;
  };

  return {
    get withheld() {
      return answer.withheld - withheldBefore;
    },
    get finished() {
      return answer.finished;
    },
    get failure() {
      return failure;
    },
    push: (bytes) =>
      guarded((events) =>
        lines.push(bytes, (line) => {
          answer.readLine(line, events);
          return !answer.finished;
        }),
      ),
    end: () =>
      guarded((events) => {
        answer.readLine(lines.rest(), events);
        if (!answer.finished) throw incomplete('the stream ended before its last line');
      }),
  };
}

interface Answer {
  /** Pieces of output held back so far. */
  readonly withheld: number;
  readonly finished: boolean;
  /** @throws GatewayError where the line is an error, or not what the wire promises. */
  readLine(line: string, events: ChatEvent[]): void;
}

function createAnswer(context: ChatContext): Answer {
  const { forced } = context;
  const callIds = new Set<string>();
  let started = false;
  let finished = false;
  let reasoned = false;
  let forcedText = '';
  let withheld = 0;

  const addCall = (name: string, args: string, id: string | undefined, events: ChatEvent[]) => {
    const index = callIds.size;
    if (index > 0 && !context.parallelToolCalls) return;
    // Old servers send no ids, and the same one twice would let two results be taken for each other.
    const unique = id === undefined || callIds.has(id) ? createId('call_', context.randomBytes) : id;
    callIds.add(unique);
    events.push({ type: 'toolCall', choice: 0, index, id: unique, name, arguments: args });
  };

  const readMessage = (message: WireObject, line: WireObject, events: ChatEvent[]) => {
    const thinking = readText(message['thinking']);
    if (thinking !== '') {
      reasoned = true;
      events.push({ type: 'reasoning', choice: 0, text: thinking });
    }
    const text = readText(message['content']);
    const logprobs = context.logprobs && !forced && thinking === '' ? decodeLogprobs(line['logprobs']) : [];
    if (forced) {
      forcedText += text;
      if (text !== '') withheld++;
      if (forcedText.length > MAX_FORCED_CHARACTERS) throw incomplete('a tool call of boundless length');
    } else if (logprobs.length > 0) events.push({ type: 'content', choice: 0, text, logprobs });
    else if (text !== '') events.push({ type: 'content', choice: 0, text });
    for (const call of readToolCalls(message['tool_calls'] ?? []))
      addCall(call.name, call.arguments, call.id, events);
  };

  const finish = (line: WireObject, events: ChatEvent[]) => {
    const raw = typeof line['done_reason'] === 'string' ? line['done_reason'].slice(0, 64) : '';
    if (raw === 'load' || raw === 'unload') throw onlyLoaded(raw);
    if (forced) {
      const { calls, text } = readForced(forcedText, forced, raw);
      for (const call of calls) addCall(call.name, call.arguments, undefined, events);
      if (text !== '') events.push({ type: 'content', choice: 0, text });
    }
    finished = true;
    const exactQueue = !(reasoned && context.constrained);
    events.push(decodeFinished(line, { raw, unified: unify(raw, callIds.size > 0) }, exactQueue));
  };

  return {
    get withheld() {
      return withheld;
    },
    get finished() {
      return finished;
    },
    readLine(text, events) {
      const line = parseLine(text);
      if (!line) return;
      if (line['error'] !== undefined && line['error'] !== null) {
        throw decodeErrorLine(line, { backend: context.backend, promptField: 'messages' });
      }
      if (!started) {
        started = true;
        const { model, backend, warnings } = context;
        events.push({ type: 'started', model, backend, warnings });
      }
      const message = line['message'];
      if (isWireObject(message)) readMessage(message, line, events);
      else if (message !== undefined && message !== null) throw incomplete('a message of the wrong type');
      if (line['done'] === true) finish(line, events);
    },
  };
}

/** @returns `undefined` for a blank line. */
function parseLine(text: string): WireObject | undefined {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    if (text.trim() === '') return undefined;
    throw incomplete(`a line that is not JSON (${text.length} characters)`);
  }
  if (!isWireObject(line)) throw incomplete('a line that is not an object');
  return line;
}

function readText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return '';
  throw incomplete('text of the wrong type');
}

function readToolCalls(calls: unknown): { id: string | undefined; name: string; arguments: string }[] {
  if (!Array.isArray(calls)) throw incomplete('tool calls of the wrong type');
  return calls.map((call: unknown) => {
    const called = isWireObject(call) ? call['function'] : undefined;
    if (!isWireObject(call) || !isWireObject(called)) throw incomplete('a tool call of the wrong type');
    const { name, arguments: args } = called;
    if (typeof name !== 'string' || name === '') throw incomplete('a tool call without a name');
    if (!isWireObject(args)) throw incomplete('tool call arguments of the wrong type');
    const id = call['id'];
    return { id: isUsableId(id) ? id : undefined, name, arguments: JSON.stringify(args) };
  });
}

function isUsableId(id: unknown): id is string {
  return typeof id === 'string' && /^[\w.:-]{1,128}$/.test(id);
}

/**
 * A forced answer. One that was cut short by the token limit has no calls, and finishes with `length`: that is what
 * happened, and the caller can act on it by asking for more tokens.
 */
function readForced(text: string, forced: ForcedCall, raw: string): ForcedAnswer {
  try {
    return parseForced(text, forced);
  } catch (error) {
    if (raw === 'length') return readCutShort(text, forced);
    throw error;
  }
}

function unify(raw: string, called: boolean): FinishReason['unified'] {
  if (raw === 'length') return 'length';
  return called ? 'toolCalls' : 'stop';
}

function decodeFinished(line: WireObject, reason: FinishReason, exactQueue: boolean): Finished {
  const promptTokens = parseCount(line['prompt_eval_count']);
  const completionTokens = parseCount(line['eval_count']);
  const cachedTokens = parseCount(line['prompt_eval_cached_count']);
  const loadMs = parseDurationMs(line['load_duration']);
  const promptMs = parseDurationMs(line['prompt_eval_duration']);
  const evalMs = parseDurationMs(line['eval_duration']);
  const totalMs = parseDurationMs(line['total_duration']);
  // What the backend's total does not explain was spent waiting for a slot. An answer that was reasoned and then held
  // to a format is the exception: it takes two runs, of which only the second one is counted.
  const queueMs =
    exactQueue && totalMs !== undefined && promptMs !== undefined && evalMs !== undefined
      ? Math.max(0, totalMs - (loadMs ?? 0) - promptMs - evalMs)
      : undefined;
  return {
    type: 'finished',
    reasons: [reason],
    usage: {
      ...(promptTokens !== undefined && { promptTokens }),
      ...(completionTokens !== undefined && { completionTokens }),
      ...(cachedTokens !== undefined && { cachedTokens }),
    },
    timings: {
      ...(queueMs !== undefined && { queueMs }),
      ...(loadMs !== undefined && { loadMs }),
      ...(promptMs !== undefined && { promptMs }),
      ...(completionTokens && evalMs && { tokensPerSecond: (completionTokens * 1000) / evalMs }),
    },
  };
}

/** The backend took the request for one that only loads the model, or put it aside: no answer was made. */
function onlyLoaded(reason: string): GatewayError {
  return new GatewayError('upstream_failed', 'The model server did not answer the request.', {
    detail: `done_reason ${reason}`,
    retryable: true,
  });
}

function incomplete(detail: string): GatewayError {
  return new GatewayError('upstream_incomplete', 'The answer of the model server broke off.', { detail });
}
