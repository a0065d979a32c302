import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import type { Clock, Telemetry } from '../core/ports.ts';
import { Bag } from '../domain/bag.ts';
import { createBatches } from './batches.ts';
import { atTurnEnd, type Connection, written } from './connection.ts';
import type { EntryLedger } from './ledger.ts';
import { within } from './pause.ts';
import type { Shard } from './shards.ts';
import { encodeEntry, type UsageEntry } from './usage-entry.ts';
import { createUsageQueue, keep, type UsageQueue } from './usage-queue.ts';

/** Entries that wait for the database at most: about 100 MB of Redis. */
export const STREAM_CAPACITY = 200_000;

/** Of them, how many this process has at hand as well, to move them on. The others are left to the sweeps. */
const AT_HAND = 10_000;

/** Entries in one step of the server, which does nothing else meanwhile. */
const MOST_ENTRIES = 100;

const MOVED_WITHIN_MS = 3000;

declare module 'ioredis' {
  interface RedisCommander<Context> {
    /** `usage.lua`: its key, then its arguments. */
    appendUsage(stream: string, bound: number, ...entries: string[]): Result<string, Context>;
  }
}

/** An entry as the stream has it. */
export interface StoredEntry {
  readonly id: string;
  readonly entry: UsageEntry;
}

export interface StreamOptions {
  readonly redis: Connection;
  readonly stream: string;
  /** Where the stream is now. */
  readonly shard: () => Shard;
  readonly ledger: EntryLedger;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

/**
 * Usage records through a Redis stream, where they outlive this process: what it has put there it moves on to the ledger
 * itself, and takes out of the stream. What it has left there, others find (`usage-sweep.ts`). Where Redis is away or
 * its stream is full, records go to the ledger directly, through a queue.
 *
 * Records leave together at the end of the turn in which they were made, on the connection of the limits, and so share
 * one write with the settlements.
 */
export function createStreamSink(options: StreamOptions & { readonly capacity?: number }): UsageQueue {
  const { redis, stream, shard, ledger, telemetry, clock, capacity = STREAM_CAPACITY } = options;
  redis.defineCommand('appendUsage', {
    lua: readFileSync(join(import.meta.dirname, 'usage.lua'), 'utf8'),
    numberOfKeys: 1,
  });

  const moving = createBatches<StoredEntry>({
    store: (batch) => moveOn(options, batch),
    clock,
    capacity: AT_HAND,
  });
  /** @returns how many Redis took, of the first ones. The ledger ignores what it gets twice. */
  const append = async (entries: readonly UsageEntry[]): Promise<number> => {
    const { ask, watch } = shard();
    let taken = 0;
    while (taken < entries.length && watch.isUp()) {
      const step = entries.slice(taken, taken + MOST_ENTRIES);
      try {
        const reply = await ask(() => redis.appendUsage(stream, capacity, ...step));
        const ids = reply === '' ? [] : reply.split(' ');
        for (const [at, id] of ids.entries()) moving.add({ id, entry: step[at] as UsageEntry });
        taken += ids.length;
        if (ids.length < step.length) break;
      } catch (error) {
        watch.failed(error);
        break;
      }
    }
    return taken;
  };

  const queue = createUsageQueue({
    telemetry,
    clock,
    // Redis again first: where the database is away too, a stream that has come back still keeps records safe.
    async store(entries) {
      await keep(ledger, telemetry, entries.slice(await append(entries)));
    },
  });

  let gathered: UsageEntry[] = [];
  let sending = 0;
  const sends = new Bag<Promise<void>>();
  const send = () => {
    const entries = gathered;
    gathered = [];
    sending += entries.length;
    const sent = append(entries).then((taken) => {
      sending -= entries.length;
      sends.delete(sent);
      for (const entry of entries.slice(taken)) queue.add(entry);
    });
    sends.add(sent);
  };
  return {
    record(record) {
      if (!shard().watch.isUp()) return queue.record(record);
      if (gathered.length === 0) atTurnEnd(redis, send);
      gathered.push(encodeEntry(record));
    },
    departure: () => written(redis),
    waiting: () => gathered.length + sending + queue.waiting(),
    async flush() {
      await written(redis);
      await Promise.all(sends);
      await queue.flush();
      // Safe by now; but whoever reads the ledger would otherwise have to wait for a sweep.
      await within(clock, MOVED_WITHIN_MS, moving.storeAll());
    },
    close() {
      queue.close();
      moving.close();
    },
  };
}

/**
 * Moves entries from the stream to the ledger.
 * @throws GatewayError where the ledger takes none of them. They stay in the stream.
 */
export async function moveOn(
  { redis, stream, shard, ledger, telemetry }: StreamOptions,
  batch: readonly StoredEntry[],
): Promise<void> {
  await keep(
    ledger,
    telemetry,
    batch.map(({ entry }) => entry),
  );
  const ids = batch.map(({ id }) => id);
  await shard().ask(() => redis.xdel(stream, ...ids));
}
