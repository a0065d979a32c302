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
  /** Called once, when all is over, whatever the end. Not called where nothing was ever asked for. */
  close?(): void;
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
      this.#end();
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

  readonly #take = (result: IteratorResult<readonly E[]>): Result<E> => {
    if (result.done) {
      this.#end();
      return DONE;
    }
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
  readonly #refuse = (thrown: unknown, passed = 0): never => {
    const closes = !this.#over;
    this.#over = true;
    throw this.#stages.reduce(
      (failure, stage, index) => refused(stage, failure, { fails: index >= passed, closes }),
      thrown,
    );
  };

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    closeAll(this.#stages);
  }
}

/** What a stage makes of a failure. What it throws itself comes in its place, and keeps no other from being closed. */
function refused(
  stage: Pick<Stage<unknown>, 'fail' | 'close'>,
  thrown: unknown,
  { fails, closes }: { readonly fails: boolean; readonly closes: boolean },
): unknown {
  try {
    try {
      return fails && stage.fail ? stage.fail(thrown) : thrown;
    } finally {
      if (closes) stage.close?.();
    }
  } catch (error) {
    return error;
  }
}

/** Each of them, whichever may throw. */
function closeAll(stages: readonly Pick<Stage<unknown>, 'close'>[]): void {
  const [stage, ...others] = stages;
  try {
    stage?.close?.();
  } finally {
    if (others.length > 0) closeAll(others);
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
