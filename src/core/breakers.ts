import { LRUCache } from 'lru-cache';
import type { Clock, Telemetry } from './ports.ts';

/** So many failures in a row are no accident. */
const FAILURES_UNTIL_OPEN = 3;
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 60_000;
/** Many more than a fleet has pairs of backend and model. */
const REMEMBERED = 1_000;

/**
 * One circuit breaker for each backend and model: which backends have failed at a model again and again, so that others
 * are asked first. A backend that fails at once is always the idle one, and would draw nearly every request without it.
 */
export interface Breakers {
  /** Whether others should be asked before this backend. False as well where it is due for a trial. */
  isOpen(backend: string, model: string): boolean;
  /** A request is sent there. Of how it ended, at most one thing is said; a request that was left says nothing. */
  begin(backend: string, model: string): Attempt;
}

export interface Attempt {
  succeeded(): void;
  /** By the backend's own fault. */
  failed(): void;
}

interface Breaker {
  failures: number;
  pauseMs: number;
  /** When the next request may try it. */
  openUntil: number;
}

export function createBreakers({ clock, telemetry }: { clock: Clock; telemetry: Telemetry }): Breakers {
  const breakers = new LRUCache<string, Breaker>({ max: REMEMBERED });
  const keyOf = (backend: string, model: string) => `${backend} ${model}`;
  // Mostly there are none, and no key needs to be made.
  const find = (backend: string, model: string) =>
    breakers.size === 0 ? undefined : breakers.get(keyOf(backend, model));
  const isTripped = (breaker: Breaker) => breaker.failures >= FAILURES_UNTIL_OPEN;
  const pause = (breaker: Breaker) => {
    breaker.openUntil = clock.now() + breaker.pauseMs;
  };

  return {
    isOpen(backend, model) {
      const breaker = find(backend, model);
      return breaker !== undefined && isTripped(breaker) && clock.now() < breaker.openUntil;
    },
    begin(backend, model) {
      const before = find(backend, model);
      const isTrial = before !== undefined && isTripped(before) && clock.now() >= before.openUntil;
      // One request tries; while it does, the others go on asking elsewhere.
      if (isTrial) pause(before);
      return {
        succeeded() {
          const breaker = find(backend, model);
          if (!breaker) return;
          breakers.delete(keyOf(backend, model));
          if (isTripped(breaker)) telemetry.log('info', 'a backend answers again', { backend, model });
        },
        failed() {
          const breaker = find(backend, model) ?? { failures: 0, pauseMs: FIRST_PAUSE_MS, openUntil: 0 };
          breakers.set(keyOf(backend, model), breaker);
          breaker.failures += 1;
          if (isTrial) breaker.pauseMs = Math.min(2 * breaker.pauseMs, LONGEST_PAUSE_MS);
          if (isTrial || breaker.failures === FAILURES_UNTIL_OPEN) pause(breaker);
          if (breaker.failures === FAILURES_UNTIL_OPEN) {
            telemetry.log('warn', 'a backend keeps failing; others are asked first', { backend, model });
          }
        },
      };
    },
  };
}
