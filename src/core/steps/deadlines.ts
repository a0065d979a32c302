import { GatewayError } from '../../domain/error.ts';
import type { Call, InferenceEvent, Step } from '../call.ts';
import type { Clock } from '../ports.ts';
import { type Stage, staged } from '../stage.ts';

/** In milliseconds. Connecting has its own deadline, in the provider. */
export interface Deadlines {
  /**
   * Until something of the answer comes: minutes, as the backend may be loading the model or working through others'
   * requests.
   */
  readonly firstEventMs: number;
  /** Between two reads, with events in them or not: generous, as Ollama is silent while a model writes a tool call. */
  readonly betweenEventsMs: number;
  /** For the whole request, from its arrival. */
  readonly totalMs: number;
}

/** Ends a call that takes too long, and with it the backend's work on it. */
export function deadlines(limits: Deadlines, clock: Clock): Step {
  return (next) => (request, call) => {
    const deadline = new Deadline(limits, clock, call);
    return staged(() => {
      deadline.watch();
      return next(request, { ...call, onRead: deadline.extend });
    }, deadline);
  };
}

class Deadline implements Stage<InferenceEvent> {
  readonly #limits: Deadlines;
  readonly #clock: Clock;
  readonly #fail: Call['end'];
  readonly #end: number;
  #due: number;
  #patienceMs: number;
  #cancelTimer: (() => void) | undefined;

  constructor(limits: Deadlines, clock: Clock, call: Call) {
    this.#limits = limits;
    this.#clock = clock;
    this.#fail = call.end;
    this.#end = call.startedAt + limits.totalMs;
    this.#due = this.#end;
    this.#patienceMs = limits.firstEventMs;
  }

  /**
   * One timer at a time rather than one per event: when it fires it looks at the due time, and sleeps on if that has moved.
   * It never sleeps longer than the shortest step by which the due time can come nearer.
   */
  watch(): void {
    const ms = Math.max(1, Math.min(this.#due - this.#clock.now(), this.#limits.betweenEventsMs));
    this.#cancelTimer = this.#clock.after(ms, () => {
      if (this.#clock.now() < this.#due) this.watch();
      else this.#fail(tooLate(this.#due === this.#end));
    });
  }

  /** The backend has said something: from now on it may take as long as between two events. */
  readonly extend = (): void => {
    this.#patienceMs = this.#limits.betweenEventsMs;
    this.ask();
  };

  ask(): void {
    this.#due = Math.min(this.#clock.now() + this.#patienceMs, this.#end);
  }

  pass(batch: readonly InferenceEvent[]): readonly InferenceEvent[] {
    // While the reader is busy with the batch, the backend is not what we wait for.
    this.#due = this.#end;
    this.#patienceMs = this.#limits.betweenEventsMs;
    return batch;
  }

  close(): undefined {
    this.#cancelTimer?.();
  }
}

function tooLate(total: boolean): GatewayError {
  const message = total
    ? 'The request took longer than the gateway allows.'
    : 'The model server did not answer in time.';
  return new GatewayError('upstream_timeout', message, {
    detail: total ? 'total deadline' : 'event deadline',
  });
}
