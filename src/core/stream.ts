import { GatewayError } from '../domain/error.ts';

/** A stream of batches that can be left at any moment: `return()` takes effect at once, whatever is being awaited. */
export type Cancellable<E> = AsyncIterableIterator<readonly E[]>;

/**
 * Runs a stream so that leaving it really stops it.
 *
 * A plain async generator cannot be interrupted while it awaits: its `return()` is queued behind the pending await, so
 * a client that leaves during a minute of prompt evaluation would keep the backend busy for that minute. Here
 * `return()` first aborts the signal that the source was given, which makes the pending await reject, and the source's
 * `finally` blocks run within the same turn.
 *
 * @param source gets the signal that ends it: on `return()`, and when `outer` aborts. Its reason is always an Error.
 */
export function cancellable<E>(
  source: (signal: AbortSignal) => AsyncIterable<readonly E[]>,
  outer: AbortSignal,
): Cancellable<E> {
  const controller = new AbortController();
  const abort = () => controller.abort(clientClosed());
  if (outer.aborted) abort();
  else outer.addEventListener('abort', abort, { once: true });

  const iterator = source(controller.signal)[Symbol.asyncIterator]();
  const done = () => outer.removeEventListener('abort', abort);

  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const result = await iterator.next();
        if (result.done) done();
        return result;
      } catch (error) {
        done();
        throw error;
      }
    },
    async return() {
      done();
      abort();
      // The source may answer its own abort with an error; whoever leaves has no use for it.
      await iterator.return?.().catch(() => undefined);
      return { done: true, value: undefined };
    },
  };
}

export function clientClosed(): GatewayError {
  return new GatewayError('client_closed', 'The client closed the connection.');
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
  const replay: Cancellable<E> = {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => ahead.shift() ?? stream.next(),
    return: () => stream.return?.() ?? Promise.resolve({ done: true, value: undefined }),
  };

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
