import type { Clock, Ledger, Telemetry } from '../core/ports.ts';
import { GatewayError } from '../domain/error.ts';
import type { UsageRecord } from '../domain/record.ts';
import { connect } from './connection.ts';
import { parseRecord } from './usage-entry.ts';
import { keep } from './usage-queue.ts';

/**
 * One name for the group and for the consumer in it. All replicas read as the same consumer: Redis gives each entry to
 * one reader all the same, and an entry that its reader never acknowledged is recognised by its age, not by its owner.
 */
const GROUP = 'ledger';
const BATCH = 200;
const BLOCK_MS = 1000;
/** After a batch that was not full, so that under light load one write takes what arrives meanwhile. */
const GATHER_MS = 100;
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5000;
const CLOSE_WITHIN_MS = 3000;

type Entry = readonly [id: string, fields: readonly string[] | null];

export interface UsageMover {
  /** Finishes the batch in hand. What it leaves behind, another replica takes over. */
  close(): Promise<void>;
}

/** Moves entries of the usage stream to the ledger for as long as it runs. */
export function startUsageMover(options: {
  readonly url: string;
  readonly stream: string;
  readonly ledger: Ledger;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** An entry that was read this long ago and not acknowledged is read again. */
  readonly reclaimAfterMs?: number;
}): UsageMover {
  const { url, stream, ledger, telemetry, clock, reclaimAfterMs = 30_000 } = options;
  // Reads block, so the connection is its own, and silence is normal for as long as a read lasts.
  const redis = connect(url, () => undefined, { commandTimeout: undefined, socketTimeout: 3 * BLOCK_MS });
  const stop = new AbortController();
  let reading = false;
  let reclaimAt = 0;

  const createGroup = async () => {
    try {
      await redis.xgroup('CREATE', stream, GROUP, '0', 'MKSTREAM');
    } catch (error) {
      if (!isReply(error, 'BUSYGROUP')) throw error;
    }
  };

  /** Entries that somebody read and never acknowledged, now and then; else new ones, when there are any. */
  const take = async (): Promise<readonly Entry[]> => {
    if (clock.now() >= reclaimAt) {
      const [, stale] = (await redis.xautoclaim(
        stream,
        GROUP,
        GROUP,
        reclaimAfterMs,
        '0-0',
        'COUNT',
        BATCH,
      )) as [string, readonly (Entry | null)[]];
      if (stale.length > 0) return stale.filter((entry) => entry !== null);
      reclaimAt = clock.now() + reclaimAfterMs;
    }
    const reply = (await redis.xreadgroup(
      'GROUP',
      GROUP,
      GROUP,
      'COUNT',
      BATCH,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      stream,
      '>',
    )) as readonly [[stream: string, entries: readonly Entry[]]] | null;
    return reply?.[0][1] ?? [];
  };

  /** @returns the entries to try again, together with the next ones. */
  const move = async (entries: readonly Entry[]): Promise<readonly Entry[]> => {
    const records = parseEntries(entries, telemetry);
    for (let retryMs = RETRY_MIN_MS; ; retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
      try {
        await keep(ledger, telemetry, records);
        break;
      } catch (error) {
        // The entries are safe where they are: should this replica stop meanwhile, another reads them again.
        await pause(clock, retryMs, stop.signal);
        if (stop.signal.aborted) return [];
        // Whether it is them or the ledger shows when there are others to compare with.
        if (!isAway(error)) return entries.slice(0, BATCH);
      }
    }
    const ids = entries.map(([id]) => id);
    await Promise.all([redis.xack(stream, GROUP, ...ids), redis.xdel(stream, ...ids)]);
    return [];
  };

  const run = async () => {
    let hasGroup = false;
    let retryMs = RETRY_MIN_MS;
    let refused: readonly Entry[] = [];
    while (!stop.signal.aborted) {
      try {
        if (!hasGroup) await createGroup();
        hasGroup = true;
        reading = true;
        const entries = await take().finally(() => {
          reading = false;
        });
        retryMs = RETRY_MIN_MS;
        if (entries.length === 0) continue;
        refused = await move([...refused, ...entries]);
        if (entries.length < BATCH) await pause(clock, GATHER_MS, stop.signal);
      } catch {
        // Redis is away, which its breaker reports, or has come back empty.
        hasGroup = false;
        await pause(clock, retryMs, stop.signal);
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
  };

  const running = run();
  return {
    async close() {
      stop.abort();
      // A read is simply left: what it may still be given is read again by others.
      if (reading) redis.disconnect();
      const done = new AbortController();
      await Promise.race([running, pause(clock, CLOSE_WITHIN_MS, done.signal)]);
      done.abort();
      redis.disconnect();
    },
  };
}

/** Entries that are no records are dropped, with one line for all of them: nothing will ever make them records. */
function parseEntries(entries: readonly Entry[], telemetry: Telemetry): readonly UsageRecord[] {
  const records: UsageRecord[] = [];
  let malformed = 0;
  for (const [, fields] of entries) {
    try {
      records.push(parseRecord(fields?.[1] ?? ''));
    } catch {
      malformed++;
    }
  }
  if (malformed > 0) {
    telemetry.recordsLost(malformed);
    telemetry.log('error', 'entries of the usage stream are no usage records and were dropped', {
      count: malformed,
    });
  }
  return records;
}

/** Whether to wait for the ledger, rather than to ask it again with other entries. */
function isAway(error: unknown): boolean {
  return error instanceof GatewayError && error.code === 'storage_unavailable';
}

function isReply(error: unknown, code: string): boolean {
  return error instanceof Error && error.message.startsWith(code);
}

/** Resolves after `ms`, or as soon as the signal aborts. */
function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener('abort', leave);
      resolve();
    });
    const leave = () => {
      cancel();
      resolve();
    };
    signal?.addEventListener('abort', leave, { once: true });
  });
}
