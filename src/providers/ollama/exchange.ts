import type { Abortable } from '../../core/signal.ts';
import type { Listener, Sent } from './connections.ts';
import { decodeSocketError } from './errors.ts';
import type { Head } from './response.ts';

/** Bytes that may wait for a slow reader before the socket is paused. */
const HIGH_WATER_BYTES = 64 * 1024;

/** What may still come after the last line for the connection to be worth keeping: its end, and little else. */
const DISCARD_BYTES = 64 * 1024;
const DISCARD_MS = 1000;

/** Makes something of a body. Told of its end or its failure, it is told nothing more. */
export interface BodyReader {
  /** These bytes from `start` to `end`, which are others after the call. */
  push(bytes: Buffer, start: number, end: number): void;
  /** All of what has been read at once has been pushed. @returns whether that is enough for now. */
  onRead(): boolean;
  onEnd(): void;
  /** @param error a GatewayError, or the signal's reason. */
  onFailure(error: Error): void;
}

/**
 * One request and its answer on one connection, read at the reader's pace: while nobody reads, the socket is paused and
 * so is the backend. The signal ends it in whatever state it is, and the connection with it.
 */
export class Exchange implements Listener {
  readonly #backend: string;
  readonly #signal: Abortable;
  #sent: Sent | undefined;
  #head: Head | undefined;
  #chunks: Buffer[] = [];
  #waitingBytes = 0;
  #ended = false;
  #failure: Error | undefined;
  #reader: BodyReader | undefined;
  #awaitedHead: PromiseWithResolvers<Head> | undefined;
  #discarding: { bytes: number; readonly timer: NodeJS.Timeout } | undefined;

  constructor(backend: string, signal: Abortable) {
    this.#backend = backend;
    this.#signal = signal;
    if (signal.aborted) this.#abort();
    else signal.addEventListener('abort', this.#abort, { once: true });
  }

  /** Rejects with a GatewayError, or the signal's reason. */
  head(): Promise<Head> {
    const awaited = Promise.withResolvers<Head>();
    this.#awaitedHead = awaited;
    this.#serveHead();
    return awaited.promise;
  }

  /**
   * Lets a reader have what comes until it has enough, straight from where it is read to. What has come while there was
   * none it has at once. One at a time.
   */
  read(reader: BodyReader): void {
    this.#reader = reader;
    if (this.#chunks.length > 0) this.#pushChunks(reader);
    else this.#serveEnd();
  }

  /** The answer is no longer wanted: ends the exchange and closes its connection, unless it is over already. */
  cancel(): void {
    if (!this.#ended) this.#fail(new Error('the exchange was left'));
  }

  /**
   * Everything wanted has been read. The end of the body is usually on its way, and waiting for it, without anybody
   * having to, keeps the connection usable. What does not end soon is cancelled.
   */
  release(): void {
    this.#chunks = [];
    if (this.#ended || this.#failure) return;
    this.#signal.removeEventListener('abort', this.#abort);
    this.#discarding = {
      bytes: this.#waitingBytes,
      timer: setTimeout(() => this.cancel(), DISCARD_MS).unref(),
    };
    this.#sent?.resume();
  }

  /** Called once, with the request that this is the answer to. Not at all where it is not to be sent any more. */
  attach(sent: Sent): void {
    this.#sent = sent;
  }

  onHead(head: Head): void {
    this.#head = head;
    this.#serveHead();
  }

  onBody(bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    if (this.#discarding) {
      this.#discarding.bytes += length;
      if (this.#discarding.bytes > DISCARD_BYTES) this.cancel();
      return;
    }
    if (this.#reader) {
      this.#reader.push(bytes, start, end);
      return;
    }
    const chunk = Buffer.allocUnsafe(length);
    bytes.copy(chunk, 0, start, end);
    this.#chunks.push(chunk);
    this.#waitingBytes += length;
    if (this.#waitingBytes >= HIGH_WATER_BYTES) this.#sent?.pause();
  }

  onRead(): void {
    const reader = this.#reader;
    if (!reader) return;
    // It may leave the exchange meanwhile, and then wants to hear no more.
    this.#reader = undefined;
    if (!reader.onRead()) this.#reader = reader;
  }

  onEnd(): void {
    this.#ended = true;
    this.onRead();
    this.#settle();
  }

  onFailure(error: Error): void {
    this.#failure ??= decodeSocketError(error, this.#head !== undefined, this.#backend);
    this.#settle();
  }

  readonly #abort = (): void => {
    const reason: unknown = this.#signal.reason;
    this.#fail(reason instanceof Error ? reason : new Error('aborted'));
  };

  #fail(reason: Error): void {
    this.#failure ??= reason;
    this.#chunks = [];
    this.#sent?.abort();
    this.#settle();
  }

  #settle(): void {
    this.#signal.removeEventListener('abort', this.#abort);
    clearTimeout(this.#discarding?.timer);
    this.#serveHead();
    this.#serveEnd();
  }

  #serveHead(): void {
    if (!this.#awaitedHead) return;
    if (this.#head) this.#awaitedHead.resolve(this.#head);
    else if (this.#failure) this.#awaitedHead.reject(this.#failure);
    else return;
    this.#awaitedHead = undefined;
  }

  #serveEnd(): void {
    const reader = this.#reader;
    if (!reader || !(this.#failure || this.#ended)) return;
    this.#reader = undefined;
    if (this.#failure) reader.onFailure(this.#failure);
    else reader.onEnd();
  }

  #pushChunks(reader: BodyReader): void {
    for (const chunk of this.#chunks) reader.push(chunk, 0, chunk.length);
    this.#chunks = [];
    this.#waitingBytes = 0;
    this.#sent?.resume();
    this.onRead();
    this.#serveEnd();
  }
}
