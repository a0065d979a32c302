import { performance } from 'node:perf_hooks';
import type { Clock } from './core/ports.ts';

/** A machine that slept, or whose clock was put right, is further behind than any drift between the two clocks. */
const BEHIND_MS = 1000;
/** To ask the wall clock as well makes the time twice as dear, and a request asks for it many times. */
const LOOK_EVERY_MS = 1;

/**
 * The machine's clock, made monotonic and finer than a millisecond: the wall clock at start plus the time since, put
 * forward where the wall clock has moved ahead of that.
 */
export function createSystemClock(wallClock: () => number = Date.now): Clock {
  let origin = wallClock() - performance.now();
  let looked = 0;
  return {
    now() {
      const running = performance.now();
      if (running - looked >= LOOK_EVERY_MS) {
        looked = running;
        const behind = wallClock() - (origin + running);
        if (behind >= BEHIND_MS) origin += behind;
      }
      return origin + running;
    },
    after(ms, act) {
      const timer = setTimeout(act, ms);
      return () => clearTimeout(timer);
    },
  };
}

export const systemClock: Clock = createSystemClock();
