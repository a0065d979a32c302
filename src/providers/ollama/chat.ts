import { randomBytes } from 'node:crypto';
import type { ChatRequest } from '../../domain/chat.ts';
import type { ChatEvent } from '../../domain/event.ts';
import type { Visit, WatchedBackend } from './backend.ts';
import type { OllamaClient } from './client.ts';
import { ChatDecoder } from './decode.ts';
import { encodeChat, type Settings, withinStack } from './encode.ts';
import type { Exchange } from './exchange.ts';

/** What is asked. For the rest see `ChatProvider.chat`. */
export interface Question {
  readonly request: ChatRequest;
  readonly settings: Settings;
  readonly signal: AbortSignal;
  readonly onRead: ((withheld: number) => void) | undefined;
}

interface Member {
  readonly backend: WatchedBackend;
  readonly client: OllamaClient;
}

type Batch = readonly ChatEvent[];
type Result = IteratorResult<Batch, undefined>;

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/**
 * One answer to a chat, as it is read. An iterator of its own and no generator, which takes several promises for each
 * token where this takes two.
 */
export class ChatAnswer implements AsyncIterableIterator<Batch, undefined> {
  readonly #find: () => Member;
  readonly #question: Question;
  #backend: WatchedBackend | undefined;
  #visit: Visit | undefined;
  #decoder: ChatDecoder | undefined;
  #exchange: Exchange | undefined;
  #over = false;

  /** @param find whom to ask. */
  constructor(find: () => Member, question: Question) {
    this.#find = find;
    this.#question = question;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    if (this.#over) return Promise.resolve(DONE);
    const failure = this.#decoder?.failure;
    if (failure) return Promise.reject(this.#failed(failure));
    return (this.#exchange?.read() ?? this.#begin()).then(this.#take, this.#refuse);
  }

  async return(): Promise<Result> {
    this.#leave();
    return DONE;
  }

  async #begin(): Promise<Buffer | undefined> {
    const { request, settings, signal } = this.#question;
    const { backend, client } = this.#find();
    this.#backend = backend;
    const model = backend.seen.models.get(request.model);
    const { body, ...context } = withinStack(() => {
      const encoded = encodeChat(request, model, settings);
      const constrained = encoded.body.format !== undefined;
      return { ...encoded, body: JSON.stringify(encoded.body), constrained };
    });
    this.#decoder = new ChatDecoder({
      ...context,
      model: request.model,
      backend: backend.seen.id,
      parallelToolCalls: request.parallelToolCalls,
      logprobs: request.logprobs !== undefined,
      randomBytes,
    });
    const visit = backend.enter(signal);
    this.#visit = visit;
    const exchange = await client.open({ path: '/api/chat', body }, visit.signal);
    visit.answered();
    this.#exchange = exchange;
    // Left while nobody had anything to leave.
    if (this.#over) exchange.cancel();
    return await exchange.read();
  }

  readonly #take = (bytes: Buffer | undefined): Result | Promise<Result> => {
    const { onRead } = this.#question;
    const decoder = this.#decoder as ChatDecoder;
    this.#backend?.noteLife();
    const events = bytes ? decoder.push(bytes) : decoder.end();
    onRead?.(decoder.withheld);
    // Given back before the events are handed over: a reader that has the last one need not come back for more.
    if (decoder.finished) this.#leave();
    if (events.length > 0) return { done: false, value: events };
    return this.next();
  };

  readonly #refuse = (thrown: unknown): never => {
    throw this.#failed(thrown);
  };

  #failed(thrown: unknown): unknown {
    this.#backend?.noteFailure(thrown);
    this.#leave();
    return thrown;
  }

  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#decoder?.finished) this.#exchange?.release();
    else this.#exchange?.cancel();
    this.#visit?.leave();
  }
}
