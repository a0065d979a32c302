import { GatewayError } from '../domain/error.ts';
import type { Backend } from '../domain/model.ts';
import type { Clock } from './ports.ts';
import type { Abortable } from './signal.ts';

export interface PlacesOptions {
  /** Requests for one model that one backend gets from this process at a time. Infinity: nobody ever waits here. */
  readonly perModel: number;
  /** Requests that wait at most, over all models. */
  readonly maxWaiting: number;
  /** How long one waits at most, in milliseconds. */
  readonly patienceMs: number;
  readonly clock: Clock;
}

/** Who wants a place. */
export interface Candidate {
  /** The full id of the model. */
  readonly model: string;
  readonly keyId: string;
  /** The backends that would do, best first, as of now. None: nothing is worth waiting for. */
  readonly backends: () => readonly Backend[];
  readonly signal: Abortable;
}

/** A backend that is to work on one request. */
export interface Place {
  readonly backend: Backend;
  /** Milliseconds. */
  readonly waitedMs: number;
  /** To be called once, when the backend has nothing to do with the request any more. */
  leave(): void;
}

/**
 * A backend works on so many requests for a model at a time, and Ollama lets all others hang, without a word, a bound or
 * an order that anybody could see. So they wait here: in a line for each model, in which keys take turns, so that
 * whoever sends a hundred requests does not keep others waiting for all of them.
 */
export interface Places {
  /**
   * Yields how many are ahead, from 0: at once where it has to wait, and then as that changes. It may grow, too, as keys
   * take turns.
   * @returns the place, or undefined where no backend would do.
   * @throws GatewayError `upstream_busy` where too many wait or it has waited too long; the signal's reason.
   */
  take(candidate: Candidate): AsyncGenerator<number, Place | undefined>;
  /** A place that is free at once; `full` where there is none, and undefined where no backend would do. */
  tryTake(candidate: Candidate): Place | 'full' | undefined;
  /** How many wait, over all models. */
  waiting(): number;
}

/**
 * How often those who wait are told where they are, and look whether a backend has come up meanwhile. For a place that
 * becomes free nobody waits that long.
 */
const LOOK_MS = 1000;

/** What somebody who is sent away may expect to wait. Nobody knows: it is as long as the answers ahead are. */
const RETRY_AFTER_MS = 5000;

const NOTHING = () => {};

export function createPlaces({ perModel, maxWaiting, patienceMs, clock }: PlacesOptions): Places {
  const taken = new Map<string, number>();
  const lines = new Map<string, Line>();
  let waiting = 0;

  const find: Find = ({ model, backends }, waitedMs) => {
    const able = backends();
    // Where there is room for everybody, nobody needs to be counted.
    if (able[0] && perModel === Number.POSITIVE_INFINITY)
      return { backend: able[0], waitedMs, leave: NOTHING };
    const backend = able.find(({ id }) => (taken.get(placeOf(id, model)) ?? 0) < perModel);
    if (!backend) return able.length === 0 ? undefined : 'full';
    const at = placeOf(backend.id, model);
    taken.set(at, (taken.get(at) ?? 0) + 1);
    const leave = () => {
      const left = (taken.get(at) ?? 1) - 1;
      if (left === 0) taken.delete(at);
      else taken.set(at, left);
      lines.get(model)?.advance();
    };
    return { backend, waitedMs, leave };
  };
  const lineFor = (model: string): Line => {
    const line = lines.get(model) ?? new Line(find, clock);
    lines.set(model, line);
    return line;
  };

  const tryTake = (candidate: Candidate) =>
    // Nobody overtakes those who wait.
    lines.get(candidate.model)?.length ? 'full' : find(candidate, 0);

  return {
    tryTake,
    async *take(candidate) {
      const { signal } = candidate;
      if (signal.aborted) throw signal.reason;
      if (waiting >= maxWaiting) throw busy('Too many requests wait already.');
      const line = lineFor(candidate.model);
      const waiter = line.join(candidate);
      const leave = () => waiter.settle({ failure: signal.reason });
      signal.addEventListener('abort', leave, { once: true });
      const cancelTimer = clock.after(patienceMs, () =>
        waiter.settle({ failure: busy('The request has waited too long for a model server.') }),
      );
      waiting++;
      let isHandedOver = false;
      try {
        for (;;) {
          const told = await waiter.news();
          if (typeof told === 'number') yield told;
          else if ('failure' in told) throw told.failure;
          else {
            isHandedOver = true;
            return told.place;
          }
        }
      } finally {
        waiting--;
        cancelTimer();
        signal.removeEventListener('abort', leave);
        line.quit(waiter);
        if (!isHandedOver) waiter.place?.leave();
      }
    },
    waiting: () => waiting,
  };
}

function placeOf(backendId: string, model: string): string {
  return `${backendId} ${model}`;
}

function busy(message: string): GatewayError {
  return new GatewayError('upstream_busy', message, { retryAfterMs: RETRY_AFTER_MS });
}

/** A place that is free, for somebody who has waited so many milliseconds. */
type Find = (candidate: Candidate, waitedMs: number) => Place | 'full' | undefined;

type Outcome = { readonly place: Place | undefined } | { readonly failure: unknown };

/** Those who wait for one model. */
class Line {
  readonly #find: Find;
  readonly #clock: Clock;
  /** In the order in which they are to be served. */
  readonly #waiters: Waiter[] = [];
  /** The round of whoever was served last. */
  #round = 0;
  #cancelLook: (() => void) | undefined;

  constructor(find: Find, clock: Clock) {
    this.#find = find;
    this.#clock = clock;
  }

  get length(): number {
    return this.#waiters.length;
  }

  /** In each round every key has one turn: a request's is in the round after that of its key's last one. */
  join(candidate: Candidate): Waiter {
    const last = this.#waiters.findLast((other) => other.candidate.keyId === candidate.keyId);
    const waiter = new Waiter(candidate, Math.max(this.#round, last?.round ?? 0) + 1, this.#clock.now());
    const ahead = this.#waiters.findLastIndex((other) => other.round <= waiter.round) + 1;
    this.#waiters.splice(ahead, 0, waiter);
    this.#cancelLook ??= this.#clock.after(LOOK_MS, this.#look);
    // A backend may have come up, or have a place that those who wait have no use for, as they have failed there.
    this.advance();
    waiter.tell(this.#waiters.indexOf(waiter));
    return waiter;
  }

  quit(waiter: Waiter): void {
    const index = this.#waiters.indexOf(waiter);
    if (index >= 0) this.#waiters.splice(index, 1);
    if (this.length > 0) return;
    this.#cancelLook?.();
    this.#cancelLook = undefined;
  }

  /** Serves whom there is a place for. */
  advance(): void {
    for (const waiter of [...this.#waiters]) {
      if (waiter.isSettled) continue;
      const found = this.#find(waiter.candidate, this.#clock.now() - waiter.since);
      if (found === 'full') continue;
      this.#round = Math.max(this.#round, waiter.round);
      this.quit(waiter);
      waiter.settle({ place: found });
    }
  }

  readonly #look = (): void => {
    this.#cancelLook = undefined;
    this.advance();
    for (const [index, waiter] of this.#waiters.entries()) waiter.tell(index);
    if (this.length > 0) this.#cancelLook = this.#clock.after(LOOK_MS, this.#look);
  };
}

/** One request that waits. */
class Waiter {
  readonly candidate: Candidate;
  readonly round: number;
  readonly since: number;
  #position: number | undefined;
  #isTold = true;
  #outcome: Outcome | undefined;
  #wake = () => {};

  constructor(candidate: Candidate, round: number, since: number) {
    this.candidate = candidate;
    this.round = round;
    this.since = since;
  }

  get isSettled(): boolean {
    return this.#outcome !== undefined;
  }

  /** What it was given, whether or not it knows. */
  get place(): Place | undefined {
    return this.#outcome && 'place' in this.#outcome ? this.#outcome.place : undefined;
  }

  tell(position: number): void {
    if (position === this.#position) return;
    this.#position = position;
    this.#isTold = false;
    this.#wake();
  }

  /** The first outcome counts. */
  settle(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.#wake();
  }

  /** How many are ahead, where that is news, or how it ended. */
  async news(): Promise<number | Outcome> {
    for (;;) {
      if (this.#outcome) return this.#outcome;
      if (this.#position !== undefined && !this.#isTold) {
        this.#isTold = true;
        return this.#position;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
