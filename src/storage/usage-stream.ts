import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import type { Clock, Telemetry } from '../core/ports.ts';
import { Bag } from '../domain/bag.ts';
import { type Connection, written } from './connection.ts';
import type { EntryLedger } from './ledger.ts';
import type { Shard } from './shards.ts';
import { encodeEntry, type UsageEntry } from './usage-entry.ts';
import { createUsageQueue, keep, type UsageQueue } from './usage-queue.ts';

/** Entries that wait for the database at most: about 100 MB of Redis. */
export const STREAM_CAPACITY = 200_000;

declare module 'ioredis' {
  interface RedisCommander<Context> {
    /** `usage.lua`: its key, then its arguments. */
    appendUsage(stream: string, bound: number, entry: string): Result<0 | 1, Context>;
  }
}

/**
 * Usage records through a Redis stream, where they outlive this process; every replica moves entries on to the ledger
 * (`usage-mover.ts`). Where Redis is away or its stream is full, they go to the ledger directly, through a queue.
 *
 * A record leaves at the end of the turn in which it was recorded, on the connection of the limits, and so shares one
 * write with the settlements and with the records of others.
 */
export function createStreamSink(options: {
  readonly redis: Connection;
  readonly stream: string;
  /** Where the stream is now. */
  readonly shard: () => Shard;
  readonly ledger: EntryLedger;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly capacity?: number;
}): UsageQueue {
  const { redis, stream, shard, ledger, telemetry, clock, capacity = STREAM_CAPACITY } = options;
  redis.defineCommand('appendUsage', {
    lua: readFileSync(join(import.meta.dirname, 'usage.lua'), 'utf8'),
    numberOfKeys: 1,
  });

  /** @returns false where Redis did not take it, or did not say so: the ledger ignores what it gets twice. */
  const append = async (entry: UsageEntry): Promise<boolean> => {
    const { ask, watch } = shard();
    if (!watch.isUp()) return false;
    try {
      return (await ask(() => redis.appendUsage(stream, capacity, entry))) === 1;
    } catch (error) {
      watch.failed(error);
      return false;
    }
  };

  const queue = createUsageQueue({
    telemetry,
    clock,
    // Redis again first: where the database is away too, a stream that has come back still keeps records safe.
    async store(entries) {
      const taken = await Promise.all(entries.map(append));
      await keep(
        ledger,
        telemetry,
        entries.filter((_entry, index) => !taken[index]),
      );
    },
  });

  const leaving = new Bag<Promise<void>>();
  return {
    record(record) {
      if (!shard().watch.isUp()) return queue.record(record);
      const left = append(encodeEntry(record)).then((taken) => {
        leaving.delete(left);
        if (!taken) queue.record(record);
      });
      leaving.add(left);
    },
    departure: () => written(redis),
    waiting: () => leaving.size + queue.waiting(),
    async flush() {
      await Promise.all(leaving);
      await queue.flush();
    },
    close: () => queue.close(),
  };
}
