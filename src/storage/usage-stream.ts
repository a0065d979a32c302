import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import type { Clock, Telemetry } from '../core/ports.ts';
import { Bag } from '../domain/bag.ts';
import type { UsageRecord } from '../domain/record.ts';
import { atTurnEnd, type Connection, written } from './connection.ts';
import type { EntryLedger } from './ledger.ts';
import type { Shard } from './shards.ts';
import { encodeEntry, type UsageEntry } from './usage-entry.ts';
import { createUsageQueue, keep, type UsageQueue } from './usage-queue.ts';

/** Entries that wait for the database at most: about 100 MB of Redis. */
export const STREAM_CAPACITY = 200_000;

/** Entries in one step of the server, which does nothing else meanwhile. */
const MOST_ENTRIES = 100;

declare module 'ioredis' {
  interface RedisCommander<Context> {
    /** `usage.lua`: its key, then its arguments. */
    appendUsage(stream: string, bound: number, ...entries: string[]): Result<number, Context>;
  }
}

/**
 * Usage records through a Redis stream, where they outlive this process; every replica moves entries on to the ledger
 * (`usage-mover.ts`). Where Redis is away or its stream is full, they go to the ledger directly, through a queue.
 *
 * Records leave together at the end of the turn in which they were made, on the connection of the limits, and so share
 * one write with the settlements.
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

  /** @returns how many Redis took, of the first ones. The ledger ignores what it gets twice. */
  const append = async (entries: readonly UsageEntry[]): Promise<number> => {
    const { ask, watch } = shard();
    let taken = 0;
    while (taken < entries.length && watch.isUp()) {
      const step = entries.slice(taken, taken + MOST_ENTRIES);
      try {
        const count = await ask(() => redis.appendUsage(stream, capacity, ...step));
        taken += count;
        if (count < step.length) break;
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

  let gathered: { readonly record: UsageRecord; readonly entry: UsageEntry }[] = [];
  let sending = 0;
  const sends = new Bag<Promise<void>>();
  const send = () => {
    const records = gathered;
    gathered = [];
    sending += records.length;
    const sent = append(records.map(({ entry }) => entry)).then((taken) => {
      sending -= records.length;
      sends.delete(sent);
      for (const { record } of records.slice(taken)) queue.record(record);
    });
    sends.add(sent);
  };
  return {
    record(record) {
      if (!shard().watch.isUp()) return queue.record(record);
      if (gathered.length === 0) atTurnEnd(redis, send);
      gathered.push({ record, entry: encodeEntry(record) });
    },
    departure: () => written(redis),
    waiting: () => gathered.length + sending + queue.waiting(),
    async flush() {
      await written(redis);
      await Promise.all(sends);
      await queue.flush();
    },
    close: () => queue.close(),
  };
}
