import type { Cancellable } from './stream.ts';

/** What one concern does to the stream within it. All but `open` may be left out. */
export interface Stage<E> {
  /** Called when the first batch is asked for. @returns the stream within. */
  open(): AsyncIterable<readonly E[]> | Promise<AsyncIterable<readonly E[]>>;
  /** Called whenever a batch is asked for. */
  ask?(): void;
  /** What goes out for a batch. */
  pass?(batch: readonly E[]): readonly E[];
  /** What goes out for a failure, one of `open` included. */
  fail?(thrown: unknown): unknown;
  /**
   * Called once, when all is over, whatever the end. Not called where nothing was ever asked for.
   * @returns what the end of the stream, or its failure, waits for, if anything. It must not reject.
   */
  close?(): Promise<void> | undefined;
}

/**
 * The stream of a stage. What an async generator around the one within would do, at less than one promise a batch: a
 * generator takes several, and there is a stage for every concern of every token. Stages directly around each other
 * become one stream. Leaving it leaves what is within.
 */
export function staged<E>(stage: Stage<E>): Cancellable<E> {
  return new Staged(stage);
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

type Result<E> = IteratorResult<readonly E[], undefined>;

class Staged<E> implements Cancellable<E> {
  /** Innermost first, as batches pass them; those that have been opened. */
  readonly #stages: Stage<E>[];
  #opening: Promise<AsyncIterator<readonly E[]>> | undefined;
  #within: AsyncIterator<readonly E[]> | undefined;
  #over = false;

  constructor(stage: Stage<E>) {
    this.#stages = [stage];
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result<E>> {
    if (this.#over) return Promise.resolve(DONE);
    const within = this.#within;
    if (!within) return this.#begin().then(this.#take, this.#refuse);
    for (const stage of this.#stages) stage.ask?.();
    return within.next().then(this.#take, this.#refuse);
  }

  async return(): Promise<Result<E>> {
    if (!this.#opening || this.#over) {
      this.#over = true;
      return DONE;
    }
    // Waited for, as what is still to be opened would otherwise be left open.
    const within = await this.#opening.catch(() => undefined);
    try {
      await within?.return?.();
    } finally {
      void this.#end();
    }
    return DONE;
  }

  #begin(): Promise<IteratorResult<readonly E[]>> {
    this.#opening ??= this.#open();
    return this.#opening.then((within) => within.next());
  }

  async #open(): Promise<AsyncIterator<readonly E[]>> {
    for (;;) {
      const [innermost] = this.#stages as [Stage<E>];
      innermost.ask?.();
      const opened = innermost.open();
      const within = opened instanceof Promise ? await opened : opened;
      if (!(within instanceof Staged) || within.#opening) {
        this.#within = within[Symbol.asyncIterator]();
        return this.#within;
      }
      this.#stages.unshift(...within.#stages);
    }
  }

  readonly #take = (result: IteratorResult<readonly E[]>): Result<E> | Promise<Result<E>> => {
    if (result.done) return this.#end()?.then(() => DONE) ?? DONE;
    let batch = result.value;
    let passed = 0;
    try {
      for (const stage of this.#stages) {
        if (stage.pass) batch = stage.pass(batch);
        passed++;
      }
    } catch (thrown) {
      this.#within?.return?.().catch(() => undefined);
      return this.#refuse(thrown, passed);
    }
    return batch === result.value ? result : { done: false, value: batch };
  };

  /**
   * Of what is being awaited while the stream is left, too: whether that or the leaving is done first is chance.
   * @param passed stages within the one that failed. To them the stream was left.
   */
  readonly #refuse = (thrown: unknown, passed = 0): Promise<never> => {
    const closes = !this.#over;
    this.#over = true;
    let failure = thrown;
    const ends: Promise<void>[] = [];
    for (const [index, stage] of this.#stages.entries()) {
      // What a stage throws itself comes in place of the failure, and keeps no other from being closed.
      try {
        if (index >= passed && stage.fail) failure = stage.fail(failure);
      } catch (error) {
        failure = error;
      }
      if (closes) failure = closeInto(ends, stage) ?? failure;
    }
    if (ends.length === 0) throw failure;
    return Promise.all(ends).then(() => Promise.reject(failure));
  };

  #end(): Promise<unknown> | undefined {
    if (this.#over) return undefined;
    this.#over = true;
    const ends: Promise<void>[] = [];
    let failure: unknown;
    for (const stage of this.#stages) failure = closeInto(ends, stage) ?? failure;
    if (failure !== undefined) throw failure;
    return ends.length === 0 ? undefined : Promise.all(ends);
  }
}

/** Closes a stage. @param ends gets what is to be waited for. @returns what the stage throws, if it does. */
function closeInto(ends: Promise<void>[], stage: Pick<Stage<unknown>, 'close'>): unknown {
  try {
    const end = stage.close?.();
    if (end !== undefined) ends.push(end);
    return undefined;
  } catch (error) {
    return error;
  }
}

/**
 * What `head` yields and then what the stream that it returns does, from where on `head` is no longer in between: for
 * beginnings that take decisions, of a stream that needs none any more.
 */
export function handOver<E>(head: AsyncGenerator<readonly E[], Cancellable<E>>): Cancellable<E> {
  let tail: Cancellable<E> | undefined;
  let left = false;
  const take = (result: IteratorResult<readonly E[], Cancellable<E>>): Result<E> | Promise<Result<E>> => {
    if (!result.done) return result;
    tail = result.value;
    return left ? leave(tail) : tail.next();
  };
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => tail?.next() ?? head.next().then(take),
    async return() {
      left = true;
      return tail ? await leave(tail) : await head.return(EMPTY).then(() => DONE);
    },
  };
}

/** A stream whose first result has been taken out of it, whole again. */
export function resumed<E>(
  first: IteratorResult<readonly E[]>,
  rest: AsyncIterator<readonly E[]>,
): Cancellable<E> {
  let held: IteratorResult<readonly E[]> | undefined = first;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      if (held === undefined) return rest.next();
      const result = held;
      held = undefined;
      return Promise.resolve(result);
    },
    return: () => rest.return?.() ?? Promise.resolve(DONE),
  };
}

async function leave(stream: Cancellable<unknown>): Promise<IteratorReturnResult<undefined>> {
  await stream.return?.();
  return DONE;
}

const EMPTY: Cancellable<never> = {
  [Symbol.asyncIterator]() {
    return this;
  },
  next: () => Promise.resolve(DONE),
};
