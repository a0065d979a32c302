import pino from 'pino';
import type { LogFields, Telemetry } from '../core/ports.ts';
import { redactFields, redactText } from './redact.ts';

export type LogLevel = pino.LevelWithSilent;

/** Where lines go: one call per line, the line break included. */
export interface LogDestination {
  write(line: string): void;
}

export interface Log {
  write: Telemetry['log'];
  /** Hands every line so far to the operating system before it returns. For the end of the process. */
  flush(): void;
}

/** Unwritten bytes kept while nobody reads the output. Lines beyond them are dropped: a log must not end a gateway. */
const MAX_BUFFERED_BYTES = 16 * 1024 * 1024;

/**
 * One JSON object a line: `level`, `time` (ISO 8601, UTC), `replica`, `msg` and the fields.
 * @param destination standard output where absent.
 */
export function createLog(level: LogLevel, replica: string, destination?: LogDestination): Log {
  const output = destination
    ? { write: destination.write.bind(destination), flushSync() {} }
    : standardOutput();
  const logger = pino(
    {
      level,
      base: { replica },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    output,
  );
  return {
    write(lineLevel: Parameters<Telemetry['log']>[0], message: string, fields: LogFields = {}) {
      if (logger.isLevelEnabled(lineLevel)) logger[lineLevel](redactFields(fields), redactText(message));
    },
    flush: () => output.flushSync(),
  };
}

/** Writes in the background; pino itself writes what is left when the process exits. */
function standardOutput() {
  const output = pino.destination({ dest: 1, sync: false, maxLength: MAX_BUFFERED_BYTES });
  // A full disk or a closed pipe costs lines, not requests.
  output.on('error', () => undefined);
  return output;
}
