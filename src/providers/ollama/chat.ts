import { randomBytes } from 'node:crypto';
import type { Abortable } from '../../core/signal.ts';
import type { ChatRequest } from '../../domain/chat.ts';
import type { ChatEvent } from '../../domain/event.ts';
import type { Model } from '../../domain/model.ts';
import type { Visit, WatchedBackend } from './backend.ts';
import type { Call, OllamaClient } from './client.ts';
import { type ChatContext, ChatDecoder } from './decode.ts';
import { encodeChat, encodeInsertion, type Settings, withinStack } from './encode.ts';
import type { BodyReader, Exchange } from './exchange.ts';

/** What is asked, and whom. */
export interface Question {
  readonly find: () => Member;
  readonly request: ChatRequest;
  readonly settings: Settings;
}

interface Member {
  readonly backend: WatchedBackend;
  readonly client: OllamaClient;
}

type OnRead = (withheld: number) => void;
type Batch = readonly ChatEvent[];
type Result = IteratorResult<Batch, undefined>;

interface Asked {
  resolve(result: Result): void;
  reject(thrown: unknown): void;
}

const NOTHING: Batch = [];

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };
const OVER = Promise.resolve(DONE);

/**
 * One answer to a chat, as it is read. An iterator and a reader of its own, with one promise for each token: a generator
 * takes several.
 */
export class ChatAnswer implements AsyncIterableIterator<Batch, undefined>, BodyReader {
  /** Until it has been put: the answer may take half an hour, and the question be megabytes of images. */
  #question: Question | undefined;
  readonly #signal: Abortable;
  readonly #onRead: OnRead | undefined;
  #backend: WatchedBackend | undefined;
  #visit: Visit | undefined;
  #decoder: ChatDecoder | undefined;
  #exchange: Exchange | undefined;
  #asked: Asked | undefined;
  /** Read and not handed over. */
  #events: Batch = NOTHING;
  #withheld = 0;
  #over = false;

  /** For signal and `onRead` see `ChatProvider.chat`. */
  constructor(question: Question, signal: Abortable, onRead: OnRead | undefined) {
    this.#question = question;
    this.#signal = signal;
    this.#onRead = onRead;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    if (this.#over) return OVER;
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject };
      const failure = this.#decoder?.failure;
      if (failure) this.onFailure(failure);
      else if (this.#exchange) this.#exchange.read(this);
      else if (this.#question) this.#begin(this.#question);
    });
  }

  async return(): Promise<Result> {
    this.#leave();
    return DONE;
  }

  push(bytes: Buffer, start: number, end: number): void {
    const decoder = this.#decoder as ChatDecoder;
    const events = decoder.push(bytes, start, end);
    this.#events = this.#events.length === 0 ? events : [...this.#events, ...events];
    this.#withheld += decoder.withheld;
  }

  onRead(): boolean {
    this.#backend?.noteLife();
    this.#onRead?.(this.#withheld);
    this.#withheld = 0;
    const { failure } = this.#decoder as ChatDecoder;
    if (this.#events.length > 0) this.#handOver();
    else if (failure) this.onFailure(failure);
    else return false;
    return true;
  }

  onEnd(): void {
    const decoder = this.#decoder as ChatDecoder;
    this.#events = decoder.end();
    this.#withheld += decoder.withheld;
    this.onRead();
  }

  onFailure(thrown: unknown): void {
    this.#backend?.noteFailure(thrown);
    this.#leave();
    this.#asked?.reject(thrown);
  }

  #begin(question: Question): void {
    this.#question = undefined;
    try {
      this.#put(question).then(
        (exchange) => this.#take(exchange),
        (thrown) => this.onFailure(thrown),
      );
    } catch (thrown) {
      this.onFailure(thrown);
    }
  }

  #put({ find, request, settings }: Question): Promise<Exchange> {
    const { backend, client } = find();
    this.#backend = backend;
    const model = backend.seen.models.get(request.model);
    const { path, body, warnings, forced, constrained, json } = withinStack(() =>
      encode(request, model, settings),
    );
    this.#decoder = new ChatDecoder({
      model: request.model,
      backend: backend.seen.id,
      warnings,
      forced,
      constrained,
      json,
      parallelToolCalls: request.parallelToolCalls,
      logprobs: request.logprobs !== undefined,
      randomBytes,
    });
    const visit = backend.enter(this.#signal);
    this.#visit = visit;
    return client.open({ path, body }, visit.signal);
  }

  #take(exchange: Exchange): void {
    this.#visit?.answered();
    this.#exchange = exchange;
    // Left while nobody had anything to leave.
    if (this.#over) exchange.cancel();
    exchange.read(this);
  }

  #handOver(): void {
    // Given back before the events are handed over: a reader that has the last one need not come back for more.
    if (this.#decoder?.finished) this.#leave();
    const value = this.#events;
    this.#events = NOTHING;
    this.#asked?.resolve({ done: false, value });
  }

  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#decoder?.finished) this.#exchange?.release();
    else this.#exchange?.cancel();
    this.#visit?.leave();
  }
}

/** Where to send what, and what has to be known of it to read the answer. */
interface Encoded
  extends Pick<Call, 'path'>,
    Pick<ChatContext, 'warnings' | 'forced' | 'constrained' | 'json'> {
  readonly body: string;
}

function encode(request: ChatRequest, model: Model | undefined, settings: Settings): Encoded {
  const { suffix } = request;
  if (suffix !== undefined) {
    const { body, warnings } = encodeInsertion(request, suffix, model, settings);
    return {
      path: '/api/generate',
      body: JSON.stringify(body),
      warnings,
      forced: undefined,
      constrained: false,
      json: false,
    };
  }
  const { body, warnings, forced } = encodeChat(request, model, settings);
  const constrained = body.format !== undefined;
  const json = constrained && !request.sampling.stop?.length;
  return { path: '/api/chat', body: JSON.stringify(body), warnings, forced, constrained, json };
}
