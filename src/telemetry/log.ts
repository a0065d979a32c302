import { createWriteStream } from 'node:fs';
import type { LogFields, Telemetry } from '../core/ports.ts';
import { isoTime } from '../domain/time.ts';
import { redactFields, redactText } from './redact.ts';

/** The level of a line, or from which on lines are written. */
const SEVERITY = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60, silent: 70 } as const;
export type LogLevel = keyof typeof SEVERITY;

/** Where lines go: one call per line, the line break included. */
export interface LogDestination {
  write(line: string): void;
}

export interface Log {
  write: Telemetry['log'];
  /** Resolves when every line so far is out, or cannot get out. */
  flush(): Promise<void>;
}

/** Unwritten bytes kept while nobody reads the output. Lines beyond them are dropped: a log must not end a gateway. */
const MAX_BUFFERED_BYTES = 16 * 1024 * 1024;
const STANDARD_OUTPUT = 1;
/** Lines of so long go out together: each write is a call of the system from another thread, which has to be woken. */
const GATHER_MS = 10;

/**
 * One JSON object a line: `level`, `time` (ISO 8601, UTC), `replica`, `msg`, and then the fields.
 * @param destination standard output where absent.
 */
export function createLog(level: LogLevel, replica: string, destination?: LogDestination): Log {
  const output = destination
    ? { write: (line: string) => destination.write(line), flush: async () => {} }
    : standardOutput();
  const name = JSON.stringify(replica);
  return {
    write(lineLevel: Parameters<Telemetry['log']>[0], message: string, fields: LogFields = {}) {
      if (SEVERITY[lineLevel] < SEVERITY[level]) return;
      const msg = JSON.stringify(redactText(message));
      const head = `{"level":"${lineLevel}","time":"${isoTime(Date.now())}","replica":${name},"msg":${msg}`;
      const rest = JSON.stringify(redactFields(fields));
      // One object of the two: to make it before it is written takes as long as writing it.
      output.write(rest === '{}' ? `${head}}\n` : `${head},${rest.slice(1)}\n`);
    },
    flush: output.flush,
  };
}

/** Writes in the background, so that a reader who stalls stalls nobody. */
function standardOutput(): LogDestination & Pick<Log, 'flush'> {
  const output = createWriteStream('', { fd: STANDARD_OUTPUT, autoClose: false });
  // A full disk or a closed pipe costs lines, not requests.
  output.on('error', () => undefined);
  let gathered = '';
  const send = (onWritten?: () => void) => {
    const lines = gathered;
    gathered = '';
    if (output.destroyed) onWritten?.();
    else output.write(lines, onWritten);
  };
  return {
    write(line) {
      if (output.writableLength + gathered.length >= MAX_BUFFERED_BYTES) return;
      if (gathered === '') setTimeout(send, GATHER_MS);
      gathered += line;
    },
    flush: () => new Promise((resolve) => send(resolve)),
  };
}
