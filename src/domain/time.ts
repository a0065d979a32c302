let lastMs = Number.NaN;
let lastText = '';

/**
 * A moment in ISO 8601, UTC, to the millisecond, as `toISOString` writes it. Under load the same one is asked for again and
 * again, and writing it out takes longer than the rest of a short log line.
 * @param ms since 1970.
 * @throws RangeError where no date is so far away.
 */
export function isoTime(ms: number): string {
  const whole = Math.trunc(ms);
  if (whole !== lastMs) {
    lastText = new Date(whole).toISOString();
    lastMs = whole;
  }
  return lastText;
}
