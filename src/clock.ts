import { performance } from 'node:perf_hooks';
import type { Clock } from './core/ports.ts';

/** The machine's clock, made monotonic: the wall clock at start plus the time since. */
export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  after(ms, act) {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
};
