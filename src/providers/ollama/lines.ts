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
export interface LineSplitter {
  /** Calls `onLine` for each line that these bytes from `start` to `end` complete, until it returns false. */
  push(bytes: Buffer, start: number, end: number, onLine: (line: string) => boolean): void;
  /** The last line, where it has no newline; empty otherwise. */
  rest(): string;
}

/** @param maxBytes of one line; more is a GatewayError `upstream_incomplete`. */
export function createLineSplitter(maxBytes = MAX_LINE_BYTES): LineSplitter {
  let held = NOTHING;
  let heldBytes = 0;

  // The space doubles as it fills, so that a line that comes byte by byte is not copied once for each byte.
  const hold = (bytes: Buffer) => {
    const needed = heldBytes + bytes.length;
    if (needed > maxBytes) throw lineTooLong(maxBytes);
    if (needed > held.length) {
      const larger = Buffer.allocUnsafe(Math.min(Math.max(needed, 2 * held.length, 1024), maxBytes));
      held.copy(larger, 0, 0, heldBytes);
      held = larger;
    }
    bytes.copy(held, heldBytes);
    heldBytes = needed;
  };

  const rest = () => {
    const line = held.toString('utf8', 0, heldBytes);
    held = NOTHING;
    heldBytes = 0;
    return line;
  };

  return {
    rest,
    push(bytes, from, to, onLine) {
      let start = from;
      while (start < to) {
        const newline = bytes.indexOf(NEWLINE, start);
        // Behind `to` there may be bytes of something else.
        if (newline < 0 || newline >= to) return hold(bytes.subarray(start, to));
        let line: string;
        if (heldBytes > 0) {
          hold(bytes.subarray(start, newline));
          line = rest();
        } else if (newline - start > maxBytes) throw lineTooLong(maxBytes);
        else line = bytes.toString('utf8', start, newline);
        start = newline + 1;
        if (!onLine(line)) return;
      }
    },
  };
}

function lineTooLong(maxBytes: number): GatewayError {
  return new GatewayError('upstream_incomplete', 'The model server sent an answer that cannot be read.', {
    detail: `a line of more than ${maxBytes} bytes`,
  });
}
