import { STAMP, STAMP_DIGITS } from '../upstream/wire.ts';

const MARK = STAMP.charCodeAt(0);
const LENGTH = 1 + STAMP_DIGITS;
const NONE = Buffer.alloc(0);

/**
 * Finds the stamps of tokens in the bytes of one answer, whatever protocol they are wrapped in and wherever they are
 * cut. Looks at nothing else, so that reading costs little next to what is measured.
 */
export class StampReader {
  /** A stamp whose end has not come yet. */
  #held = NONE;
  /** Stamps found so far. */
  count = 0;

  /** @param onStamp gets the time of each stamp, in nanoseconds. */
  read(bytes: Buffer, onStamp: (nanoseconds: number) => void): void {
    const whole = this.#held.length > 0 ? Buffer.concat([this.#held, bytes]) : bytes;
    this.#held = NONE;
    for (let at = whole.indexOf(MARK); at >= 0; at = whole.indexOf(MARK, at + LENGTH)) {
      if (at + LENGTH > whole.length) {
        this.#held = Buffer.from(whole.subarray(at));
        return;
      }
      this.count++;
      onStamp(parseDigits(whole, at + 1));
    }
  }
}

function parseDigits(bytes: Buffer, from: number): number {
  let value = 0;
  for (let at = from; at < from + STAMP_DIGITS; at++) value = value * 10 + (bytes[at] ?? 0) - 48;
  return value;
}
