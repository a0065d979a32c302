import type { Clock, Telemetry } from '../core/ports.ts';
import { toGatewayError } from '../domain/error.ts';
import { type Connection, connect } from './connection.ts';
import type { EntryLedger } from './ledger.ts';
import { pause, within } from './pause.ts';
import { keep } from './usage-queue.ts';

/**
 * One name for the group and for the consumer in it. All replicas read as the same consumer: Redis gives each entry to
 * one reader all the same, and an entry that its reader never acknowledged is recognised by its age, not by its owner.
 */
const GROUP = 'ledger';
/** What is decoded, written and acknowledged at once, and keeps everything else waiting: a millisecond or two. */
const BATCH = 100;
const BLOCK_MS = 1000;
/** After a batch that was not full, so that one write takes what arrives meanwhile: few large ones cost least. */
const GATHER_MS = 200;
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5000;
const CLOSE_WITHIN_MS = 3000;

export interface UsageMover {
  /** Finishes the batch in hand. What it leaves behind, another replica takes over. */
  close(): Promise<void>;
}

interface UsageMoverOptions {
  readonly url: string;
  readonly stream: string;
  readonly ledger: EntryLedger;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** An entry that was read this long ago and not acknowledged is read again. */
  readonly reclaimAfterMs?: number;
}

/** Moves entries of the usage stream to the ledger for as long as it runs. */
export function startUsageMover(options: UsageMoverOptions): UsageMover {
  const { url, clock } = options;
  // Reads block, so the connection is its own, and silence is normal for as long as a read lasts.
  const redis = connect(url, () => undefined, { socketTimeout: 3 * BLOCK_MS });
  const stop = new AbortController();
  const entries = createEntryReader(redis, options);
  const running = run(entries, options, stop.signal);
  return {
    async close() {
      stop.abort();
      // A read is simply left: what it may still be given is read again by others.
      if (entries.isReading()) redis.disconnect();
      await within(clock, CLOSE_WITHIN_MS, running);
      redis.disconnect();
    },
  };
}

async function run(entries: EntryReader, options: UsageMoverOptions, stopped: AbortSignal): Promise<void> {
  const { clock, telemetry } = options;
  let refused: readonly Entry[] = [];
  let retryMs = RETRY_MIN_MS;
  let complained = false;
  while (!stopped.aborted) {
    try {
      const taken = await entries.take();
      retryMs = RETRY_MIN_MS;
      if (taken.length > 0) {
        const batch = [...refused, ...taken];
        const fate = await move(batch, options, stopped);
        if (fate === 'kept') await entries.acknowledge(batch);
        refused = fate === 'refused' ? batch.slice(0, BATCH) : [];
      }
      complained = false;
      if (taken.length > 0 && taken.length < BATCH) await pause(clock, GATHER_MS, stopped);
    } catch (error) {
      // What Redis refuses here alone, such as for want of a permission, nobody else notices.
      if (isReply(error) && !REFUSES_EVERYBODY.test(error.message) && !complained) {
        complained = true;
        telemetry.log('error', 'usage records stay in Redis, which refuses to hand them over', {
          reason: error.message,
        });
      }
      await pause(clock, retryMs, stopped);
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
  }
}

/**
 * Waits for as long as the ledger is away: the entries are safe where they are, also when this replica stops meanwhile.
 * @returns `refused` where the ledger takes none of them. Whether that is their fault or its own shows when they are
 * tried again together with others.
 */
async function move(
  entries: readonly Entry[],
  { ledger, telemetry, clock }: UsageMoverOptions,
  stopped: AbortSignal,
): Promise<'kept' | 'refused' | 'left'> {
  // In place of an entry that has no text at all, one that the ledger refuses.
  const texts = entries.map(([, fields]) => fields?.[1] || 'null');
  for (let retryMs = RETRY_MIN_MS; ; retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
    try {
      await keep(ledger, telemetry, texts);
      return 'kept';
    } catch (error) {
      await pause(clock, retryMs, stopped);
      if (stopped.aborted) return 'left';
      if (toGatewayError(error).code !== 'storage_unavailable') return 'refused';
    }
  }
}

type Entry = readonly [id: string, fields: readonly string[] | null];

interface EntryReader {
  /** Entries that somebody read and never acknowledged, now and then; else new ones. Waits for a while, may be empty. */
  take(): Promise<readonly Entry[]>;
  acknowledge(entries: readonly Entry[]): Promise<void>;
  isReading(): boolean;
}

function createEntryReader(redis: Connection, options: UsageMoverOptions): EntryReader {
  const { stream, clock, reclaimAfterMs = 30_000 } = options;
  let reading = false;
  let reclaimAt = 0;

  const createGroup = async () => {
    try {
      await redis.xgroup('CREATE', stream, GROUP, '0', 'MKSTREAM');
    } catch (error) {
      if (!(isReply(error) && error.message.startsWith('BUSYGROUP'))) throw error;
    }
  };
  const takeStale = async (): Promise<readonly Entry[]> => {
    const range = [reclaimAfterMs, '0-0', 'COUNT', BATCH] as const;
    const [, stale] = (await redis.xautoclaim(stream, GROUP, GROUP, ...range)) as StaleReply;
    if (stale.length === 0) reclaimAt = clock.now() + reclaimAfterMs;
    return stale.filter((entry) => entry !== null);
  };
  const takeNew = async (): Promise<readonly Entry[]> => {
    const how = ['COUNT', BATCH, 'BLOCK', BLOCK_MS, 'STREAMS', stream, '>'] as const;
    const reply = (await redis.xreadgroup('GROUP', GROUP, GROUP, ...how)) as NewReply;
    if (!reply) return [];
    const [read] = reply;
    const [, entries] = read;
    // The reply itself lives for longer than it is of use: see `forgetContent`.
    read[1] = [];
    return entries;
  };

  return {
    async take() {
      reading = true;
      try {
        const stale = clock.now() >= reclaimAt ? await takeStale() : [];
        return stale.length > 0 ? stale : await takeNew();
      } catch (error) {
        // Only then: a Redis that is full refuses to make the group, also where it is there, and lets it be read, which is
        // what makes room.
        if (!(isReply(error) && GROUP_IS_MISSING.test(error.message))) throw error;
        await createGroup();
        return [];
      } finally {
        reading = false;
      }
    },
    async acknowledge(entries) {
      const ids = entries.map(([id]) => id);
      await Promise.all([redis.xack(stream, GROUP, ...ids), redis.xdel(stream, ...ids)]);
    },
    isReading: () => reading,
  };
}

/** Nobody has read yet, or Redis has lost everything: before the read, or while it was waiting. */
const GROUP_IS_MISSING = /^(NOGROUP|UNBLOCKED) /;

/** What counts as Redis being away, which is reported elsewhere. */
const REFUSES_EVERYBODY = /^(CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN) /;

/** Whether it is what Redis answered, and not the want of an answer. */
function isReply(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

type StaleReply = [cursor: string, entries: readonly (Entry | null)[]];
type NewReply = readonly [[stream: string, entries: readonly Entry[]]] | null;
