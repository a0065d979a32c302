import { type Holdings, readHoldings } from '../../tests/support/holdings.ts';
import type { Stack } from '../../tests/support/stack.ts';

/** The memory of one process of a replica over time. */
export interface MemorySeries {
  /** From 1. */
  readonly replica: number;
  readonly pid: number;
  /** Bytes, one every `SAMPLE_MS`. */
  readonly bytes: number[];
}

export interface Samples {
  readonly memory: readonly MemorySeries[];
  /** The most of each that was seen. */
  readonly most: Pick<
    Holdings,
    'postgresConnections' | 'redisConnections' | 'leases' | 'entries' | 'inFlight'
  >;
  stop(): Promise<void>;
}

export const SAMPLE_MS = 2000;
/** A process that has run for less is still warming up. */
const JUDGED_AFTER_MS = 180_000;
const GROWTH = 1.2;

/** Looks at a stack again and again. What cannot be seen while a store is away is left out. */
export function startSampling(stack: Stack): Samples {
  const memory: MemorySeries[] = [];
  const most = { postgresConnections: 0, redisConnections: 0, leases: 0, entries: 0, inFlight: 0 };
  const look = async () => {
    const pids = stack.replicas.map(({ pid }) => pid);
    const holdings = await readHoldings(stack);
    for (const name of Object.keys(most) as (keyof typeof most)[]) {
      most[name] = Math.max(most[name], holdings[name]);
    }
    for (const [index, pid] of pids.entries()) {
      let series = memory.find((one) => one.pid === pid);
      if (!series) {
        series = { replica: index + 1, pid, bytes: [] };
        memory.push(series);
      }
      series.bytes.push(holdings.residentBytes[index] ?? 0);
    }
  };
  let looking: Promise<void> | undefined;
  const timer = setInterval(() => {
    looking ??= look()
      .catch(() => undefined)
      .finally(() => {
        looking = undefined;
      });
  }, SAMPLE_MS);
  return {
    memory,
    most,
    async stop() {
      clearInterval(timer);
      await looking;
      await look();
    },
  };
}

/** Whether the memory of a process is more than a fifth larger in its last quarter than in its second one. */
export function keepsGrowing({ bytes }: MemorySeries): boolean {
  if (bytes.length * SAMPLE_MS < JUDGED_AFTER_MS) return false;
  const quarter = Math.floor(bytes.length / 4);
  return median(bytes.slice(-quarter)) > GROWTH * median(bytes.slice(quarter, 2 * quarter));
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
