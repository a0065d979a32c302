import type { Cancellable } from './stream.ts';

/** What one concern does to the stream within it. */
export interface Stage<E> {
  /** Called whenever a batch is asked for. */
  ask?(): void;
  /** What goes out for a batch. */
  pass?(batch: readonly E[]): readonly E[];
  /** What goes out for a failure, also for one to open the stream. */
  fail?(thrown: unknown): unknown;
  /**
   * Called once, when all is over, whatever the end. Not called where nothing was ever asked for.
   * @returns what the end of the stream, or its failure, waits for, if anything. It must not reject.
   */
  close?(): Promise<void> | undefined;
}

/** The stream within a stage. */
type Within<E> = AsyncIterable<readonly E[]> | Promise<AsyncIterable<readonly E[]>>;
type Open<E> = () => Within<E>;

/**
 * The stream of a stage. What an async generator around the one within would do, at less than one promise a batch: a
 * generator takes several, and there is a stage for every concern of every token. Stages directly around each other
 * become one stream. Leaving it leaves what is within.
 *
 * @param open called when the first batch is asked for, and forgotten then. Through it a stream holds the request, which
 * may be megabytes of images; the answer may take half an hour.
 */
export function staged<E>(open: Open<E>, stage: Stage<E> = {}): Cancellable<E> {
  return new Staged(open, stage);
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };
const NONE: never[] = [];

type Result<E> = IteratorResult<readonly E[], undefined>;
type Asked<E> = Stage<E> & Required<Pick<Stage<E>, 'ask'>>;

/** Most are never asked for anything, as they become part of the one around them: what only that needs, it makes itself. */
class Staged<E> implements Cancellable<E> {
  readonly #stage: Stage<E>;
  /** Outermost first, as they are opened; batches pass them, and ends reach them, from the last one to the first. */
  #stages: Stage<E>[] = NONE;
  /** Of these, the ones that want to know, as there are several and each token asks all of them. Undefined: not known. */
  #asked: readonly Asked<E>[] | undefined;
  /** Likewise. While it is not known, all of them. */
  #passed: readonly Stage<E>[] = NONE;
  /** The stream within the innermost one, as long as that is to be opened. */
  #open: Open<E> | undefined;
  #isBegun = false;
  #opening: Promise<void> | undefined;
  #within: AsyncIterator<readonly E[]> | undefined;
  #over = false;
  /** Two for the whole stream, and not for each batch. */
  #onResult: ((result: IteratorResult<readonly E[]>) => Result<E> | Promise<Result<E>>) | undefined;
  #onFailure: ((thrown: unknown) => Promise<never>) | undefined;

  constructor(open: Open<E>, stage: Stage<E>) {
    this.#open = open;
    this.#stage = stage;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result<E>> {
    if (this.#over) return Promise.resolve(DONE);
    let within = this.#within;
    if (!within) return this.#begin();
    if (within instanceof HandOver && within.tail) within = this.#takeIn(within.tail);
    this.#asked ??= this.#selectStages();
    for (const stage of this.#asked) stage.ask();
    return within.next().then(this.#onResult, this.#onFailure);
  }

  async return(): Promise<Result<E>> {
    if (!this.#isBegun || this.#over) {
      this.#over = true;
      return DONE;
    }
    // Waited for, as what is still to be opened would otherwise be left open.
    await this.#opening?.catch(() => undefined);
    try {
      await this.#within?.return?.();
    } finally {
      void this.#end();
    }
    return DONE;
  }

  async #begin(): Promise<Result<E>> {
    let first: IteratorResult<readonly E[]>;
    try {
      if (!this.#isBegun) {
        this.#isBegun = true;
        this.#stages = [this.#stage];
        this.#passed = this.#stages;
        // By way of names: a function that is assigned to a property where it is made V8 makes among the old objects.
        const take = (result: IteratorResult<readonly E[]>) => this.#take(result);
        const refuse = (thrown: unknown) => this.#refuse(thrown);
        this.#onResult = take;
        this.#onFailure = refuse;
        this.#opening = this.#openAll();
      }
      if (this.#opening !== undefined) await this.#opening;
      first = await (this.#within as AsyncIterator<readonly E[]>).next();
    } catch (thrown) {
      return this.#refuse(thrown);
    }
    return this.#take(first);
  }

  /** @returns undefined where there is nothing to wait for. */
  #openAll(): Promise<void> | undefined {
    for (let open = this.#open; open; open = this.#open) {
      this.#open = undefined;
      this.#stages.at(-1)?.ask?.();
      const opened = open();
      if (opened instanceof Promise) {
        return opened.then((within) => {
          this.#enter(within);
          return this.#openAll();
        });
      }
      this.#enter(opened);
    }
    return undefined;
  }

  #enter(within: AsyncIterable<readonly E[]>): void {
    if (within instanceof Staged && !within.#isBegun) {
      this.#stages.push(within.#stage);
      this.#open = within.#open;
    } else this.#takeIn(within[Symbol.asyncIterator]());
  }

  /** Goes on with what is within a stream of stages, and with the stages in its place. */
  #takeIn(stream: AsyncIterator<readonly E[]>): AsyncIterator<readonly E[]> {
    let within = stream;
    if (stream instanceof Staged && stream.#within && !stream.#over) {
      this.#stages.push(...stream.#stages);
      within = stream.#within;
    }
    this.#asked = undefined;
    this.#within = within;
    return within;
  }

  /** Only for a second batch, as many a stream has no more than one. */
  #selectStages(): readonly Asked<E>[] {
    // Copied, as what filters has room for many more.
    this.#passed = [...this.#stages.filter((stage) => stage.pass !== undefined)];
    return [...this.#stages.filter((stage): stage is Asked<E> => stage.ask !== undefined)];
  }

  #take(result: IteratorResult<readonly E[]>): Result<E> | Promise<Result<E>> {
    if (result.done) return this.#end()?.then(() => DONE) ?? DONE;
    let batch = result.value;
    for (let at = this.#passed.length - 1; at >= 0; at--) {
      const stage = this.#passed[at];
      if (!stage?.pass) continue;
      try {
        batch = stage.pass(batch);
      } catch (thrown) {
        this.#within?.return?.().catch(() => undefined);
        return this.#refuse(thrown, this.#stages.indexOf(stage));
      }
    }
    return batch === result.value ? result : { done: false, value: batch };
  }

  /**
   * Of what is being awaited while the stream is left, too: whether that or the leaving is done first is chance.
   * @param failed where the stage is that failed, if one did. To those within it the stream was left.
   */
  #refuse(thrown: unknown, failed = this.#stages.length): Promise<never> {
    const closes = !this.#over;
    this.#over = true;
    let failure = thrown;
    const ends: Promise<void>[] = [];
    for (let at = this.#stages.length - 1; at >= 0; at--) {
      const stage = this.#stages[at];
      // What a stage throws itself comes in place of the failure, and keeps no other from being closed.
      try {
        if (at <= failed && stage?.fail) failure = stage.fail(failure);
      } catch (error) {
        failure = error;
      }
      if (closes) failure = closeInto(ends, stage) ?? failure;
    }
    const reject = () => Promise.reject(failure);
    return ends.length === 0 ? reject() : Promise.all(ends).then(reject);
  }

  #end(): Promise<unknown> | undefined {
    if (this.#over) return undefined;
    this.#over = true;
    const ends: Promise<void>[] = [];
    let failure: unknown;
    for (let at = this.#stages.length - 1; at >= 0; at--) {
      failure = closeInto(ends, this.#stages[at]) ?? failure;
    }
    if (failure !== undefined) throw failure;
    return ends.length < 2 ? ends[0] : Promise.all(ends);
  }
}

/** Closes a stage. @param ends gets what is to be waited for. @returns what the stage throws, if it does. */
function closeInto(ends: Promise<void>[], stage: Pick<Stage<unknown>, 'close'> | undefined): unknown {
  try {
    const end = stage?.close?.();
    if (end !== undefined) ends.push(end);
    return undefined;
  } catch (error) {
    return error;
  }
}

/** How a beginning ends: with a stream, and the first result that has been taken out of it. */
export interface Continuation<E> {
  readonly first: IteratorResult<readonly E[]>;
  readonly rest: AsyncIterator<readonly E[]>;
}

/**
 * What `head` yields and then what the stream that it returns does, from where on `head` is no longer in between: for
 * beginnings that take decisions, of a stream that needs none any more.
 */
export function handOver<E>(head: Head<E>): Cancellable<E> {
  return new HandOver(head);
}

type Head<E> = AsyncGenerator<readonly E[], Continuation<E>>;

class HandOver<E> implements Cancellable<E> {
  readonly #head: Head<E>;
  #left = false;
  /** What is left to come, once `head` has ended. */
  tail: AsyncIterator<readonly E[]> | undefined;

  constructor(head: Head<E>) {
    this.#head = head;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result<E>> {
    return this.tail?.next() ?? this.#head.next().then(this.#take);
  }

  async return(): Promise<Result<E>> {
    this.#left = true;
    if (this.tail) await this.tail.return?.();
    else await this.#head.return(NOTHING);
    return DONE;
  }

  readonly #take = (
    result: IteratorResult<readonly E[], Continuation<E>>,
  ): Result<E> | Promise<Result<E>> => {
    if (!result.done) return result;
    const { first, rest } = result.value;
    this.tail = rest;
    return this.#left ? this.return() : first;
  };
}

const NOTHING: Continuation<never> = { first: DONE, rest: { next: () => Promise.resolve(DONE) } };
