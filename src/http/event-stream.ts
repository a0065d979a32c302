import type { ServerResponse } from 'node:http';
import type { Clock } from '../core/ports.ts';
import { clientClosed } from '../domain/error.ts';

export interface EventStreamOptions {
  readonly clock: Clock;
  readonly pingMs: number;
  readonly stallMs: number;
}

/** A comment: clients ignore it. Never a named or an empty event, which they would parse. */
const PING = ': ping\n\n';

/** One response as a stream of server-sent events. What is written must be whole frames. */
export class EventStream {
  readonly #res: ServerResponse;
  readonly #options: EventStreamOptions;
  #lastWrite: number;
  #cancelPing: (() => void) | undefined;

  constructor(res: ServerResponse, options: EventStreamOptions) {
    this.#res = res;
    this.#options = options;
    this.#lastWrite = options.clock.now();
  }

  /** Sends the head that has been written, and from here on a comment whenever the stream was silent for `pingMs`. */
  open(): void {
    const res = this.#res;
    res.flushHeaders();
    res.on('close', () => this.#cancelPing?.());
    if (!res.destroyed) this.#armPing(this.#options.pingMs);
  }

  ping(): void {
    this.#lastWrite = this.#options.clock.now();
    // A client that is behind has enough to read.
    if (!isBehind(this.#res) && !this.#res.destroyed) writeChunk(this.#res, PING);
  }

  /**
   * @returns undefined where there is room for more, and else what resolves when the client has taken enough: awaiting
   * it bounds the memory of a connection. It rejects as this throws.
   * @throws GatewayError `client_closed` where the client has left or has not read for `stallMs`; the connection is
   * closed then.
   */
  write(frames: string): Promise<void> | undefined {
    const { clock, stallMs } = this.#options;
    if (this.#res.destroyed) throw clientClosed();
    this.#lastWrite = clock.now();
    return writeChunk(this.#res, frames) ? undefined : drained(this.#res, clock, stallMs);
  }

  /** Writes the last frames, if any, and ends the response. */
  end(frames: string): void {
    const { clock, stallMs } = this.#options;
    const res = this.#res;
    this.#cancelPing?.();
    if (res.destroyed) return;
    res.on(
      'close',
      clock.after(stallMs, () => res.destroy()),
    );
    res.end(frames);
  }

  /** Rearmed when it fires and not on each write: a stream of many tokens would set and clear a timer for each. */
  #armPing(ms: number): void {
    const { clock, pingMs } = this.#options;
    this.#cancelPing = clock.after(ms, () => {
      const silence = clock.now() - this.#lastWrite;
      if (silence >= pingMs) this.ping();
      this.#armPing(silence >= pingMs ? pingMs : pingMs - silence);
    });
  }
}

/**
 * Writes a part of the body, which is never empty.
 *
 * Four pieces make a chunk of HTTP, and Node passes them on as four, at the end of the turn: that costs half of what the
 * system's own write does, for every token. Put together here, they go out as one text.
 * @returns whether there is room for more.
 */
function writeChunk(res: ServerResponse, frames: string): boolean {
  const { socket } = res;
  // In HTTP/1.0 there are no chunks. Without a socket, another answer is still going out on the connection.
  if (!socket || !res.chunkedEncoding) return res.write(frames);
  return socket.write(`${Buffer.byteLength(frames).toString(16)}\r\n${frames}\r\n`);
}

function isBehind(res: ServerResponse): boolean {
  return res.writableNeedDrain || res.socket?.writableNeedDrain === true;
}

function drained(res: ServerResponse, clock: Clock, stallMs: number): Promise<void> {
  // Whichever of the two was written to; the response hears of it when the socket does.
  const sink = res.writableNeedDrain ? res : (res.socket ?? res);
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => () => {
      cancelCut();
      sink.off('drain', onDrain);
      res.off('close', onClose);
      act();
    };
    const onDrain = settle(resolve);
    const onClose = settle(() => reject(clientClosed()));
    const cancelCut = clock.after(stallMs, () => res.destroy());
    sink.on('drain', onDrain);
    res.on('close', onClose);
  });
}

/**
 * JSON that no reader of event streams can split. JSON escapes CR and LF itself; these three are line ends to readers
 * that are broader than the standard, such as those built on Python's `splitlines`.
 */
export function encodeJson(value: unknown): string {
  const json = JSON.stringify(value);
  return WIDE_LINE_END.test(json) ? json.replace(WIDE_LINE_ENDS, escapeCharacter) : json;
}

const WIDE_LINE_END = /[\u0085\u2028\u2029]/;
const WIDE_LINE_ENDS = /[\u0085\u2028\u2029]/g;

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
