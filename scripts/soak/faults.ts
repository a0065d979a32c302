import { setTimeout as sleep } from 'node:timers/promises';
import type { OllamaProcess } from '../../tests/support/ollama-process.ts';
import type { Stack } from '../../tests/support/stack.ts';
import type { Failure } from '../../tests/support/traffic.ts';

/** Something that was made to fail. */
export interface Fault {
  readonly name: string;
  /** When it was begun, in milliseconds since 1970. */
  readonly at: number;
  /** When it had come into force. Until then requests may yet reach what is about to go. */
  readonly inForceAt: number;
  /** Whether it may end requests that were under way when it began. None may fail that begins afterwards. */
  readonly breaksRunning: boolean;
}

/** Everything that can fail. */
interface Targets {
  readonly stack: Stack;
  readonly ollamas: readonly OllamaProcess[];
}

interface FaultKind extends Pick<Fault, 'name' | 'breaksRunning'> {
  /** @param round how often it happened before. */
  begin(targets: Targets, round: number): unknown;
  end(targets: Targets, round: number): unknown;
}

const KINDS: readonly FaultKind[] = [
  {
    name: 'Redis stopped',
    breaksRunning: false,
    begin: ({ stack }) => stack.redis.stop(),
    end: ({ stack }) => stack.redis.start(),
  },
  {
    name: 'a replica killed',
    breaksRunning: true,
    begin: ({ stack }, round) => stack.replicas[round % stack.replicas.length]?.kill(),
    end: ({ stack }, round) => stack.restart(round % stack.replicas.length),
  },
  {
    name: 'PostgreSQL stopped',
    breaksRunning: false,
    begin: ({ stack }) => stack.postgres.stop(),
    end: ({ stack }) => stack.postgres.start(),
  },
  {
    name: 'an Ollama stopped',
    breaksRunning: true,
    begin: ({ ollamas }, round) => ollamas[round % ollamas.length]?.stop(),
    end: ({ ollamas }, round) => ollamas[round % ollamas.length]?.restart(),
  },
  {
    name: 'Redis frozen',
    breaksRunning: false,
    begin: ({ stack }) => stack.redis.freeze(),
    end: ({ stack }) => stack.redis.thaw(),
  },
  {
    name: 'PostgreSQL frozen',
    breaksRunning: false,
    begin: ({ stack }) => stack.postgres.freeze(),
    end: ({ stack }) => stack.postgres.thaw(),
  },
];

const EVERY_MS = 15_000;
const LASTS_MS = 5000;

/**
 * Lets one thing after the other fail, and mends it, until there would be no time left to mend the next.
 * @returns those that have begun, oldest first: the list grows. `done` resolves when the last one is mended.
 */
export function startFaults(
  targets: Targets,
  { until, onFault }: { readonly until: number; readonly onFault: (name: string) => void },
  stopped: AbortSignal,
): { readonly faults: readonly Fault[]; readonly done: Promise<void> } {
  const faults: Fault[] = [];
  const run = async () => {
    for (let count = 0; ; count++) {
      const kind = KINDS[count % KINDS.length];
      const round = Math.floor(count / KINDS.length);
      if (!kind || Date.now() + EVERY_MS + LASTS_MS > until) return;
      await sleep(EVERY_MS - LASTS_MS, undefined, { signal: stopped });
      const at = Date.now();
      onFault(kind.name);
      await kind.begin(targets, round);
      faults.push({ name: kind.name, breaksRunning: kind.breaksRunning, at, inForceAt: Date.now() });
      await sleep(LASTS_MS, undefined, { signal: stopped }).catch(() => undefined);
      await kind.end(targets, round);
    }
  };
  const done = run().catch((error: Error) => {
    if (error.name !== 'AbortError') throw error;
  });
  return { faults, done };
}

/** @returns the fault that a request failed by, if it was one. */
export function explain({ askedAt, failedAt }: Failure, faults: readonly Fault[]): Fault | undefined {
  return faults.find(
    ({ breaksRunning, at, inForceAt }) => breaksRunning && askedAt <= inForceAt && failedAt >= at,
  );
}
