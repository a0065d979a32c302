let lastSecond = Number.NaN;
/** All of it but the milliseconds. */
let lastStem = '';

/**
 * A moment in ISO 8601, UTC, to the millisecond, as `toISOString` writes it. Under load those of the same second are asked
 * for again and again, and writing one out takes longer than the rest of a short log line.
 * @param ms since 1970.
 * @throws RangeError where no date is so far away.
 */
export function isoTime(ms: number): string {
  const whole = Math.trunc(ms);
  const second = Math.floor(whole / 1000);
  if (second !== lastSecond) {
    lastStem = new Date(whole).toISOString().slice(0, -4);
    lastSecond = second;
  }
  const millis = whole - second * 1000;
  return `${lastStem}${String(1000 + millis).slice(1)}Z`;
}
