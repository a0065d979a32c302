import { GatewayError, toGatewayError } from '../../domain/error.ts';
import type { ChatEvent, Finished, FinishReason, TokenLogprob } from '../../domain/event.ts';
import { createId } from '../../domain/id.ts';
import { decodeErrorLine } from './errors.ts';
import { type ForcedAnswer, type ForcedCall, parseForced, readCutShort } from './forced.ts';
import { LineSplitter } from './lines.ts';
import { decodeLogprobs } from './logprobs.ts';
import { isWireObject, parseCount, parseDurationMs, type WireObject } from './wire.ts';

/** What the decoder must know of the request. */
export interface ChatContext {
  readonly model: string;
  /** The backend's label. */
  readonly backend: string;
  readonly warnings: readonly string[];
  readonly forced?: ForcedCall | undefined;
  readonly parallelToolCalls: boolean;
  readonly logprobs: boolean;
  /** Whether the answer is held to a format, a forced call's included. */
  readonly constrained: boolean;
  /** Whether a text that ends by itself must be JSON: not where stop strings of the request may end it anywhere. */
  readonly json: boolean;
  readonly randomBytes: (count: number) => Uint8Array;
}

/** What is held to a format is kept, to be read or judged as a whole at its end: so much of it, in characters. */
const MAX_KEPT_CHARACTERS = 16 * 1024 * 1024;

/**
 * Bytes of an answer of `/api/chat` or `/api/generate` in, events out. Pure but for the random ids of calls that come
 * without one.
 */
export class ChatDecoder {
  readonly #lines = new LineSplitter();
  readonly #answer: Answer;
  #failure: GatewayError | undefined;
  #withheldBefore = 0;

  constructor(context: ChatContext) {
    this.#answer = new Answer(context);
  }

  /** Pieces of output among the last bytes that no event shows, as a forced answer is held back as a whole. */
  get withheld(): number {
    return this.#answer.withheld - this.#withheldBefore;
  }

  /** True after the last line. Whatever comes then is ignored. */
  get finished(): boolean {
    return this.#answer.finished;
  }

  get failure(): GatewayError | undefined {
    return this.#failure;
  }

  /**
   * The events of the lines that these bytes from `start` to `end` complete; empty where there are none. Never throws:
   * what is wrong is in `failure`, so that the events before it are not lost.
   */
  push(bytes: Buffer, start = 0, end = bytes.length): readonly ChatEvent[] {
    this.#withheldBefore = this.#answer.withheld;
    if (!this.#failure && !this.finished) {
      try {
        this.#lines.push(bytes, start, end, this.#readLine);
      } catch (error) {
        this.#fail(error);
      }
    }
    return this.#answer.takeEvents();
  }

  /** As `push`, for the end of the bytes. Afterwards the decoder has either finished or failed. */
  end(): readonly ChatEvent[] {
    this.#withheldBefore = this.#answer.withheld;
    if (!this.#failure && !this.finished) {
      try {
        this.#answer.readLine(this.#lines.rest());
        if (!this.finished) throw incomplete('the stream ended before its last line');
      } catch (error) {
        this.#fail(error);
      }
    }
    return this.#answer.takeEvents();
  }

  readonly #readLine = (line: string): boolean => {
    this.#answer.readLine(line);
    return !this.#answer.finished;
  };

  #fail(error: unknown): void {
    // The stack can follow what a model writes into a tool call only so deep.
    this.#failure = error instanceof RangeError ? incomplete('nested too deeply') : toGatewayError(error);
  }
}

/** What has been read of an answer so far, line by line. */
class Answer {
  readonly #context: ChatContext;
  #callIds: Set<string> | undefined;
  #events: ChatEvent[] = [];
  #started = false;
  #reasoned = false;
  #kept = '';
  finished = false;
  /** Pieces of output held back so far. */
  withheld = 0;

  constructor(context: ChatContext) {
    this.#context = context;
  }

  /** What has been read since the last time. */
  takeEvents(): readonly ChatEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** @throws GatewayError where the line is an error, or not what the wire promises. */
  readLine(text: string): void {
    const token = TOKEN_LINE.exec(text)?.[1];
    if (token !== undefined) {
      this.#start();
      this.#readText(token);
      return;
    }
    const line = parseLine(text);
    if (!line) return;
    const { backend } = this.#context;
    if (line['error'] !== undefined && line['error'] !== null) {
      throw decodeErrorLine(line, { backend, promptField: 'messages' });
    }
    this.#start();
    const message = line['message'] ?? toMessage(line);
    if (isWireObject(message)) this.#readMessage(message, line);
    else if (message !== undefined && message !== null) throw incomplete('a message of the wrong type');
    if (line['done'] === true) this.#finish(line);
  }

  #emit(event: ChatEvent): void {
    // Mostly the only one, and an array made of one has no room for sixteen more.
    if (this.#events.length === 0) this.#events = [event];
    else this.#events.push(event);
  }

  #start(): void {
    if (this.#started) return;
    this.#started = true;
    const { model, backend, warnings } = this.#context;
    this.#emit({ type: 'started', model, backend, warnings });
  }

  #readText(text: string, logprobs?: readonly TokenLogprob[]): void {
    const { forced, json } = this.#context;
    if (forced || json) this.#keep(text);
    if (forced) return;
    if (logprobs?.length) this.#emit({ type: 'content', choice: 0, text, logprobs });
    else if (text !== '') this.#emit({ type: 'content', choice: 0, text });
  }

  #readMessage(message: WireObject, line: WireObject): void {
    const { forced, logprobs: wantsLogprobs } = this.#context;
    const thinking = readText(message['thinking']);
    if (thinking !== '') {
      this.#reasoned = true;
      this.#emit({ type: 'reasoning', choice: 0, text: thinking });
    }
    const text = readText(message['content']);
    const hasLogprobs = wantsLogprobs && !forced && thinking === '';
    this.#readText(text, hasLogprobs ? decodeLogprobs(line['logprobs']) : undefined);
    const calls = message['tool_calls'];
    if (calls === undefined || calls === null) return;
    for (const call of readToolCalls(calls)) this.#addCall(call.name, call.arguments, call.id);
  }

  #keep(text: string): void {
    this.#kept += text;
    if (this.#context.forced && text !== '') this.withheld++;
    if (this.#kept.length > MAX_KEPT_CHARACTERS) throw incomplete('formatted text of boundless length');
  }

  #addCall(name: string, args: string, id: string | undefined): void {
    const { parallelToolCalls, randomBytes } = this.#context;
    this.#callIds ??= new Set();
    const index = this.#callIds.size;
    if (index > 0 && !parallelToolCalls) return;
    // Old servers send no ids, and the same one twice would let two results be taken for each other.
    const unique = id === undefined || this.#callIds.has(id) ? createId('call_', randomBytes) : id;
    this.#callIds.add(unique);
    this.#emit({ type: 'toolCall', choice: 0, index, id: unique, name, arguments: args });
  }

  #finish(line: WireObject): void {
    const { forced, constrained, json } = this.#context;
    const raw = typeof line['done_reason'] === 'string' ? line['done_reason'].slice(0, 64) : '';
    if (raw === 'load' || raw === 'unload') throw onlyLoaded(raw);
    if (forced) {
      const { calls, text } = readForced(this.#kept, forced, raw);
      for (const call of calls) this.#addCall(call.name, call.arguments, undefined);
      if (text !== '') this.#emit({ type: 'content', choice: 0, text });
    } else if (json && raw !== 'length' && !this.#callIds) assertJson(this.#kept);
    this.finished = true;
    const exactQueue = !(this.#reasoned && constrained);
    const reason = { raw, unified: unify(raw, this.#callIds !== undefined) };
    this.#emit(decodeFinished(line, reason, exactQueue));
  }
}

/**
 * A line with a piece of text that needs no unescaping and nothing else, as most are, in the form in which Ollama writes
 * it. What matches is JSON that says just this; matching it takes a sixth of parsing it, and whatever does not is parsed.
 */
const TOKEN_LINE = new RegExp(
  String.raw`^\{"model":"TEXT","created_at":"TEXT","message":\{"role":"assistant","content":"(TEXT)"\},"done":false\}$`
    // What a string of JSON may hold as it is: no control character, no quote and no backslash.
    .replaceAll('TEXT', String.raw`[ !#-[\]-\uffff]*`),
);

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

/** What `/api/generate` says: its pieces of text, and of thoughts, are in the line itself. */
function toMessage({ response: content, thinking }: WireObject): WireObject | undefined {
  return content === undefined ? undefined : { content, thinking };
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

/**
 * Some versions of Ollama do not apply the format where a model that can reason is told not to.
 * @throws GatewayError `upstream_invalid_output` where the text is not JSON.
 */
function assertJson(text: string): void {
  try {
    JSON.parse(text);
  } catch {
    throw new GatewayError(
      'upstream_invalid_output',
      'The model did not answer in the format it was held to.',
      {
        detail: `answer in a format: it is not JSON (${text.length} characters)`,
      },
    );
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
  const tokensPerSecond = completionTokens && evalMs ? (completionTokens * 1000) / evalMs : undefined;
  return {
    type: 'finished',
    reasons: [reason],
    usage: { promptTokens, completionTokens, cachedTokens },
    timings: { queueMs, loadMs, promptMs, tokensPerSecond },
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
