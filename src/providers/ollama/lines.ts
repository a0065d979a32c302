import { GatewayError } from '../../domain/error.ts';

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);

/**
 * Longest line accepted, in bytes. An honest one holds a token; the longest honest ones hold a whole tool call, or an
 * answer that the backend held back until its end.
 */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

/**
 * Cuts bytes into lines, whatever the pieces they come in. Cutting happens on bytes, and a newline byte is never part of
 * another character in UTF-8, so no character is ever torn. Holds at most one unfinished line.
 */
export class LineSplitter {
  readonly #maxBytes: number;
  #held = NOTHING;
  #heldBytes = 0;

  /** @param maxBytes of one line; more is a GatewayError `upstream_incomplete`. */
  constructor(maxBytes = MAX_LINE_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Calls `onLine` for each line that these bytes from `start` to `end` complete, until it returns false. */
  push(bytes: Buffer, start: number, end: number, onLine: (line: string) => boolean): void {
    // Before the start and behind the end there may be bytes of something else.
    const last = end > start ? bytes.lastIndexOf(NEWLINE, end - 1) : -1;
    if (last < start) {
      this.#hold(bytes.subarray(start, end));
      return;
    }
    let from = start;
    if (this.#heldBytes > 0) {
      from = bytes.indexOf(NEWLINE, start) + 1;
      this.#hold(bytes.subarray(start, from - 1));
      if (!onLine(this.rest())) return;
    }
    // All at once: a call for each line takes longer than its characters do.
    if (from <= last && !this.#cut(bytes.toString('utf8', from, last), onLine)) return;
    if (last + 1 < end) this.#hold(bytes.subarray(last + 1, end));
  }

  /** @returns false where `onLine` has. */
  #cut(text: string, onLine: (line: string) => boolean): boolean {
    for (let at = 0; ; ) {
      const newline = text.indexOf('\n', at);
      const line = text.slice(at, newline < 0 ? undefined : newline);
      // Of a character there are three bytes at most.
      if (line.length > this.#maxBytes / 3 && Buffer.byteLength(line) > this.#maxBytes)
        throw lineTooLong(this.#maxBytes);
      if (!onLine(line)) return false;
      if (newline < 0) return true;
      at = newline + 1;
    }
  }

  /** The last line, where it has no newline; empty otherwise. */
  rest(): string {
    const line = this.#held.toString('utf8', 0, this.#heldBytes);
    this.#held = NOTHING;
    this.#heldBytes = 0;
    return line;
  }

  /** The space doubles as it fills, so that a line that comes byte by byte is not copied once for each byte. */
  #hold(bytes: Buffer): void {
    const needed = this.#heldBytes + bytes.length;
    if (needed > this.#maxBytes) throw lineTooLong(this.#maxBytes);
    if (needed > this.#held.length) {
      const size = Math.min(Math.max(needed, 2 * this.#held.length, 1024), this.#maxBytes);
      const larger = Buffer.allocUnsafe(size);
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    bytes.copy(this.#held, this.#heldBytes);
    this.#heldBytes = needed;
  }
}

function lineTooLong(maxBytes: number): GatewayError {
  return new GatewayError('upstream_incomplete', 'The model server sent an answer that cannot be read.', {
    detail: `a line of more than ${maxBytes} bytes`,
  });
}
