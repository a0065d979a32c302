import type { Clock } from '../../src/core/ports.ts';

/** A clock that stands still until a test moves it. */
export interface TestClock extends Clock {
  /** Moves on, running what falls due on the way, in order, with promise reactions in between. */
  advance(ms: number): Promise<void>;
  /** How many timers are waiting. */
  pending(): number;
}

export function createTestClock(start = Date.UTC(2026, 0, 1)): TestClock {
  let now = start;
  let count = 0;
  const timers = new Map<number, { readonly at: number; readonly act: () => void }>();
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
  return {
    now: () => now,
    after(ms, act) {
      const id = count++;
      timers.set(id, { at: now + ms, act });
      return () => timers.delete(id);
    },
    async advance(ms) {
      const until = now + ms;
      for (;;) {
        await settle();
        const due = [...timers]
          .filter(([, timer]) => timer.at <= until)
          .sort(([, a], [, b]) => a.at - b.at)[0];
        if (due === undefined) break;
        const [id, timer] = due;
        timers.delete(id);
        now = Math.max(now, timer.at);
        timer.act();
      }
      now = until;
      await settle();
    },
    pending: () => timers.size,
  };
}
