import { clientClosed, GatewayError } from '../domain/error.ts';
import { type Abortable, Cancellation } from './signal.ts';
import { staged } from './stage.ts';

/** A stream of batches that can be left at any moment: `return()` takes effect at once, whatever is being awaited. */
export type Cancellable<E> = AsyncIterableIterator<readonly E[]>;

type Source<E> = (signal: Abortable, end: (reason: GatewayError) => void) => AsyncIterable<readonly E[]>;

/**
 * Runs a stream so that leaving it really stops it.
 *
 * A plain async generator cannot be interrupted while it awaits: its `return()` is queued behind the pending await, so
 * a client that leaves during a minute of prompt evaluation would keep the backend busy for that minute. Here
 * `return()` first aborts the signal that the source was given, which makes the pending await reject, and the source's
 * `finally` blocks run within the same turn.
 *
 * @param source gets the signal that ends it: on `return()`, and when one of `outers` aborts. Its reason is a
 * GatewayError: the outer one's where that is one (a shutdown, say), else `client_closed`. It also gets what ends it for
 * a reason of its own.
 */
export function cancellable<E>(source: Source<E>, ...outers: readonly Abortable[]): Cancellable<E> {
  return new Leavable(source, outers);
}

class Leavable<E> implements Cancellable<E> {
  readonly #cancellation = new Cancellation();
  readonly #outers: readonly Abortable[];
  readonly #stream: Cancellable<E>;

  constructor(source: Source<E>, outers: readonly Abortable[]) {
    this.#outers = outers;
    for (const outer of outers) outer.addEventListener('abort', this.#abort, { once: true });
    if (outers.some((outer) => outer.aborted)) this.#abort();
    this.#stream = staged(() => source(this.#cancellation, this.#end), { close: this.#unlink });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<readonly E[]>> {
    return this.#stream.next();
  }

  async return(): Promise<IteratorResult<readonly E[]>> {
    this.#unlink();
    this.#abort();
    // The source may answer its own abort with an error; whoever leaves has no use for it.
    await this.#stream.return?.().catch(() => undefined);
    return { done: true, value: undefined };
  }

  readonly #abort = (): void => {
    const reason = this.#outers.find((outer) => outer.aborted)?.reason;
    this.#cancellation.abort(reason instanceof GatewayError ? reason : clientClosed());
  };

  readonly #end = (reason: GatewayError): void => this.#cancellation.abort(reason);

  readonly #unlink = (): undefined => {
    for (const outer of this.#outers) outer.removeEventListener('abort', this.#abort);
  };
}

/**
 * Reads ahead until `enough` says so, the stream ends, or `withinMs` has passed, so that a protocol can wait for the
 * fate of a request before it commits to a status. Errors that happen meanwhile reject.
 *
 * @returns the stream, whole: what was read ahead comes out of it again. `committed` is false where time ran out first.
 */
export async function holdBack<E>(
  stream: Cancellable<E>,
  enough: (batch: readonly E[]) => boolean,
  withinMs: number,
): Promise<{ readonly stream: Cancellable<E>; readonly committed: boolean }> {
  const ahead: Promise<IteratorResult<readonly E[]>>[] = [];
  const replay = new Replay(ahead, stream);

  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<'timeUp'>((resolve) => {
    timer = setTimeout(resolve, withinMs, 'timeUp');
  });
  try {
    for (;;) {
      const next = stream.next();
      // Kept even while pending: the reader that comes later awaits the same promise.
      ahead.push(next);
      const first = await Promise.race([next, timeUp]);
      if (first === 'timeUp') return { stream: replay, committed: false };
      if (first.done || enough(first.value)) return { stream: replay, committed: true };
    }
  } finally {
    clearTimeout(timer);
  }
}

class Replay<E> implements Cancellable<E> {
  readonly #ahead: Promise<IteratorResult<readonly E[]>>[];
  readonly #stream: Cancellable<E>;

  constructor(ahead: Promise<IteratorResult<readonly E[]>>[], stream: Cancellable<E>) {
    this.#ahead = ahead;
    this.#stream = stream;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<readonly E[]>> {
    return (this.#ahead.length > 0 && this.#ahead.shift()) || this.#stream.next();
  }

  return(): Promise<IteratorResult<readonly E[]>> {
    return this.#stream.return?.() ?? Promise.resolve({ done: true, value: undefined });
  }
}

/**
 * Several streams as one, each value with the index of its source, as they come. Reads one value ahead per source.
 * Leaving it, or the failure of a source, asks all others to return but does not wait for them: whoever made the
 * sources holds the signal that makes them.
 * @param atOnce how many sources run at a time; the others start as these end.
 */
export async function* merge<T>(
  sources: readonly (() => AsyncIterable<T>)[],
  atOnce: number,
): AsyncGenerator<{ readonly source: number; readonly value: T }> {
  type Arrival =
    | { readonly source: number; readonly result: IteratorResult<T> }
    | { readonly error: unknown };
  const iterators = new Map<number, AsyncIterator<T>>();
  const arrivals: Arrival[] = [];
  let wake = () => {};
  const arrive = (arrival: Arrival) => {
    arrivals.push(arrival);
    wake();
  };
  const pull = (source: number, iterator: AsyncIterator<T>) => {
    iterator.next().then(
      (result) => arrive({ source, result }),
      (error) => arrive({ error }),
    );
  };
  const waiting = sources.entries();
  const start = () => {
    while (iterators.size < atOnce) {
      const { value: entry, done } = waiting.next();
      if (done) return;
      const iterator = entry[1]()[Symbol.asyncIterator]();
      iterators.set(entry[0], iterator);
      pull(entry[0], iterator);
    }
  };

  try {
    start();
    while (iterators.size > 0) {
      const arrival = arrivals.shift();
      if (arrival === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      if ('error' in arrival) throw arrival.error;
      const { source, result } = arrival;
      const iterator = iterators.get(source);
      if (result.done || iterator === undefined) {
        iterators.delete(source);
        start();
      } else {
        yield { source, value: result.value };
        pull(source, iterator);
      }
    }
  } finally {
    for (const iterator of iterators.values()) iterator.return?.().catch(() => undefined);
  }
}
