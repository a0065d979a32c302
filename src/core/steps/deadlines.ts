import { GatewayError } from '../../domain/error.ts';
import type { Step } from '../call.ts';
import type { Clock } from '../ports.ts';
import { staged } from '../stage.ts';

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
    const end = call.startedAt + limits.totalMs;
    let due = end;
    let patienceMs = limits.firstEventMs;
    let cancelTimer = () => {};
    // One timer at a time rather than one per event: when it fires it looks at the due time, and sleeps on if that has
    // moved. It never sleeps longer than the shortest step by which the due time can come nearer.
    const watch = (): void => {
      cancelTimer = clock.after(Math.max(1, Math.min(due - clock.now(), limits.betweenEventsMs)), () => {
        if (clock.now() < due) watch();
        else call.end(tooLate(due === end));
      });
    };
    const wait = (): void => {
      due = Math.min(clock.now() + patienceMs, end);
    };
    const onRead = (): void => {
      patienceMs = limits.betweenEventsMs;
      wait();
    };
    return staged({
      open() {
        watch();
        return next(request, { ...call, onRead });
      },
      ask: wait,
      pass(batch) {
        // While the reader is busy with the batch, the backend is not what we wait for.
        due = end;
        patienceMs = limits.betweenEventsMs;
        return batch;
      },
      close() {
        cancelTimer();
      },
    });
  };
}

function tooLate(total: boolean): GatewayError {
  const message = total
    ? 'The request took longer than the gateway allows.'
    : 'The model server did not answer in time.';
  return new GatewayError('upstream_timeout', message, {
    detail: total ? 'total deadline' : 'event deadline',
  });
}
