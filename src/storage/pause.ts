import type { Clock } from '../core/ports.ts';

/** Resolves after `ms`, or as soon as the signal aborts. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal.addEventListener('abort', end, { once: true });
  });
}

/** The promise, or `ms`, whichever is first. @returns whether it was the promise. */
export async function within(clock: Clock, ms: number, promise: Promise<unknown>): Promise<boolean> {
  const settled = new AbortController();
  const first = await Promise.race([
    promise.then(() => true),
    pause(clock, ms, settled.signal).then(() => false),
  ]);
  settled.abort();
  return first;
}
