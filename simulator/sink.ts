import type { Exchange } from './exchange.ts';
import type { Script } from './script.ts';

/** Where the lines of a stream go. Undefined: nothing to wait for. */
export interface Sink {
  write(line: string): Promise<void> | undefined;
  /** Writes what is still held. */
  flush(): Promise<void>;
}

/** One write a line, or the pieces that the script wants. */
export function createSink(exchange: Exchange, script: Script): Sink {
  if (script.splitBytes !== undefined) return splitting(exchange, script.splitBytes);
  if (script.joinLines !== undefined) return joining(exchange, script.joinLines);
  return { write: (line) => exchange.write(line), flush: () => Promise.resolve() };
}

/** Pieces of the same size, whatever they cut: lines, and characters of several bytes. */
function splitting(exchange: Exchange, size: number): Sink {
  let rest: Buffer = Buffer.alloc(0);
  return {
    async write(line) {
      rest = Buffer.concat([rest, Buffer.from(line)]);
      let at = 0;
      for (; rest.length - at >= size; at += size) await exchange.write(rest.subarray(at, at + size));
      rest = rest.subarray(at);
    },
    async flush() {
      if (rest.length > 0) await exchange.write(rest);
      rest = Buffer.alloc(0);
    },
  };
}

function joining(exchange: Exchange, lines: number): Sink {
  let held = '';
  let count = 0;
  const flush = async () => {
    const text = held;
    held = '';
    count = 0;
    if (text !== '') await exchange.write(text);
  };
  return {
    write(line) {
      held += line;
      count++;
      return count < lines ? undefined : flush();
    },
    flush,
  };
}
