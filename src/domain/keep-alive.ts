import type { Bound } from './bounds.ts';

/** A Go duration, such as `1h30m`. Each number needs its unit, also so that matching has one way to go. */
export const DURATION = /^-?(?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h)){1,8}$/;

const UNIT_SECONDS: Readonly<Record<string, number>> = {
  ns: 1e-9,
  us: 1e-6,
  µs: 1e-6,
  ms: 1e-3,
  s: 1,
  m: 60,
  h: 3600,
};

/** @param duration fits `DURATION`. */
export function durationSeconds(duration: string): number {
  let seconds = 0;
  for (const [, amount, unit = ''] of duration.matchAll(/([\d.]+)([a-zµ]+)/g)) {
    seconds += Number(amount) * (UNIT_SECONDS[unit] ?? 0);
  }
  return duration.startsWith('-') ? -seconds : seconds;
}

/** Seconds. */
export const KEEP_ALIVE: Bound = { min: 60, max: 3600 };

/**
 * How long a caller may have a model kept in memory. The memory is shared: whoever unloads a model at once, or pins it,
 * does so for everybody.
 * @returns the seconds asked for; `undefined`, which leaves it to the operator, where none were or, with a warning, where
 * they are out of bounds.
 */
export function allowedKeepAlive(wish: number | undefined, warnings: string[]): number | undefined {
  if (wish === undefined || (wish >= KEEP_ALIVE.min && wish <= KEEP_ALIVE.max)) return wish;
  warnings.push(
    `A model is kept in memory for ${KEEP_ALIVE.min} to ${KEEP_ALIVE.max} seconds, so the time asked for was not applied.`,
  );
  return undefined;
}
