import type { Cancellable } from '../core/stream.ts';

/** How the events of a stream become those of a subscription. */
export interface EventEncoder<E, T> {
  encode(event: E): T;
  /**
   * The last event of a stream that has failed, or undefined where nobody is left to read it. What it throws is the error
   * that the last result shows.
   */
  fail(thrown: unknown): T | undefined;
  /** The last event of a stream that has come to its end, where it lacks one. */
  end(): T | undefined;
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/**
 * A stream of batches as the source of a subscription: one event at a time, and an exception only as the encoder's last
 * word.
 *
 * Not a generator, because a generator cannot be left while it awaits: here `return()` reaches the source at once.
 * An event that has come in a batch is one promise away from the executor.
 */
export function createEventStream<E, T>(
  source: Cancellable<E>,
  encoder: EventEncoder<E, T>,
): AsyncIterableIterator<T, undefined> {
  let batch: readonly E[] = [];
  let position = 0;
  let closed = false;
  let pulling: Promise<IteratorResult<T, undefined>> | undefined;

  const close = (last?: T): IteratorResult<T, undefined> => {
    closed = true;
    batch = [];
    return last === undefined ? DONE : { done: false, value: last };
  };

  const fail = async (thrown: unknown): Promise<IteratorResult<T, undefined>> => {
    // It would go on, where it is not what has failed.
    source.return?.().catch(() => undefined);
    return close(encoder.fail(thrown));
  };

  const take = (): IteratorYieldResult<T> | Promise<IteratorResult<T, undefined>> | undefined => {
    const event = batch[position];
    if (event === undefined) return undefined;
    position++;
    try {
      return { done: false, value: encoder.encode(event) };
    } catch (thrown) {
      return fail(thrown);
    }
  };

  const pull = (): Promise<IteratorResult<T, undefined>> =>
    source.next().then(
      (result) => {
        if (closed) return DONE;
        if (!result.done) {
          batch = result.value;
          position = 0;
          const event = take();
          if (event === undefined) return pull();
          pulling = undefined;
          return event;
        }
        pulling = undefined;
        return close(encoder.end());
      },
      (thrown: unknown) => {
        pulling = undefined;
        return closed ? DONE : fail(thrown);
      },
    );

  const stream: AsyncIterableIterator<T, undefined> = {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      if (closed) return Promise.resolve(DONE);
      // Whoever asks again without waiting gets what comes after.
      if (pulling !== undefined) return pulling.then(() => stream.next());
      const event = take();
      if (event !== undefined) return Promise.resolve(event);
      pulling = pull();
      return pulling;
    },
    async return() {
      close();
      await source.return?.();
      return DONE;
    },
  };
  return stream;
}

/** A stream that has failed before it began. */
export function failure(thrown: unknown): Cancellable<never> {
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => Promise.reject(thrown),
    return: () => Promise.resolve(DONE),
  };
}
