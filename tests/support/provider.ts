import type { ChatProvider, Clock, LogFields, Telemetry } from '../../src/core/ports.ts';
import { GatewayError } from '../../src/domain/error.ts';
import { createOllamaFleet, type FleetOptions } from '../../src/providers/ollama/fleet.ts';

/** The real time. */
export const wallClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  after(ms, act) {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
};

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** Telemetry that keeps the log, and lets a test wait for a line of it. */
export interface RecordedTelemetry extends Telemetry {
  readonly lines: readonly LogLine[];
  /** The first line, past or to come, that fits and has not been waited for yet. */
  line(fits: (line: LogLine) => boolean): Promise<LogLine>;
}

export function recordTelemetry(): RecordedTelemetry {
  const lines: LogLine[] = [];
  const taken = new Set<LogLine>();
  const watchers = new Set<(line: LogLine) => boolean>();
  const ignore = () => undefined;
  return {
    lines,
    line(fits) {
      const past = lines.find((line) => !taken.has(line) && fits(line));
      if (past) {
        taken.add(past);
        return Promise.resolve(past);
      }
      return new Promise((resolve) => {
        const watcher = (line: LogLine) => {
          if (!fits(line)) return false;
          watchers.delete(watcher);
          taken.add(line);
          resolve(line);
          return true;
        };
        watchers.add(watcher);
      });
    },
    log(level, message, fields = {}) {
      const line = { level, message, fields };
      lines.push(line);
      for (const watcher of watchers) if (watcher(line)) break;
    },
    requestStarted: ignore,
    requestEnded: ignore,
    firstToken: ignore,
    tokenGap: ignore,
    limitHit: ignore,
    keyLookupFailed: ignore,
    recordsLost: ignore,
  };
}

/** A fleet that has looked at its backends once. */
export async function startFleet(
  urls: readonly string[],
  options: Partial<FleetOptions> = {},
): Promise<ChatProvider> {
  const fleet = createOllamaFleet({ urls, clock: wallClock, telemetry: recordTelemetry(), ...options });
  await fleet.refresh();
  return fleet;
}

/** Everything that comes out of a stream, and what it ended with. */
export async function drain<E>(stream: AsyncIterable<readonly E[]>): Promise<{
  readonly events: readonly E[];
  readonly batches: number;
  readonly error: GatewayError | undefined;
}> {
  const events: E[] = [];
  let batches = 0;
  try {
    for await (const batch of stream) {
      events.push(...batch);
      batches += 1;
    }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return { events, batches, error };
  }
  return { events, batches, error: undefined };
}

/** A signal that nobody fires. */
export function never(): AbortSignal {
  return new AbortController().signal;
}
