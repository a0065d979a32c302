import { performance } from 'node:perf_hooks';
import type { Clock } from './core/ports.ts';

/** A machine that slept, or whose clock was put right, is further behind than any drift between the two clocks. */
const BEHIND_MS = 1000;

/**
 * The machine's clock, made monotonic and finer than a millisecond: the wall clock at start plus the time since, put
 * forward where the wall clock has moved ahead of that.
 */
export function createSystemClock(wallClock: () => number = Date.now): Clock {
  let origin = wallClock() - performance.now();
  return {
    now() {
      const now = origin + performance.now();
      const behind = wallClock() - now;
      if (behind < BEHIND_MS) return now;
      origin += behind;
      return now + behind;
    },
    after(ms, act) {
      const timer = setTimeout(act, ms);
      return () => clearTimeout(timer);
    },
  };
}

export const systemClock: Clock = createSystemClock();
