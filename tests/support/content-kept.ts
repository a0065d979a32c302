/**
 * Sends content to a store while young objects are collected, as a process: `node --expose-gc`, this, the name of a store
 * below and its URL. Prints, of all that was sent, the share that only a full collection would free.
 */
import { randomUUID } from 'node:crypto';
import { getHeapSpaceStatistics } from 'node:v8';
import { systemClock as clock } from '../../src/clock.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { openRedis } from '../../src/storage/redis.ts';
import { encodeEntry } from '../../src/storage/usage-entry.ts';
import { createTestTelemetry, usageRecord } from './shared-state.ts';

interface Store {
  /** Resolves when the store has it. @returns how many bytes it was. */
  send(): Promise<number>;
  close(): Promise<void>;
}

/** Records of usage on their way through Redis into a ledger that keeps nothing. */
async function sendUsage(url: string): Promise<Store> {
  let kept = 0;
  let reached = () => {};
  const appendEntries = async (entries: readonly string[]) => {
    kept += entries.length;
    reached();
  };
  const ledger = { appendEntries, append: () => Promise.reject(new Error('nothing is sent past Redis')) };
  const telemetry = createTestTelemetry();
  const { usage, close } = await openRedis({
    url,
    replicas: 1,
    ledger,
    telemetry,
    clock,
    prefix: randomUUID(),
  });
  return {
    async send() {
      const before = kept;
      // As many as are written at once, so that they are without a pause.
      const records = Array.from({ length: 200 }, () => usageRecord());
      for (const record of records) usage.record(record);
      while (kept < before + records.length) {
        await new Promise<void>((resolve) => {
          reached = resolve;
        });
      }
      return records.reduce((sum, record) => sum + encodeEntry(record).length, 0);
    },
    close,
  };
}

async function sendStatements(url: string): Promise<Store> {
  const database = await openPostgres({ url });
  return {
    async send() {
      const text = JSON.stringify({ text: 'x'.repeat(16_000), unlike: randomUUID() });
      await database.query('select length($1)', [text]);
      return text.length;
    },
    close: () => database.close(),
  };
}

const STORES: Readonly<Record<string, (url: string) => Promise<Store>>> = {
  Redis: sendUsage,
  'a Redis Cluster': sendUsage,
  PostgreSQL: sendStatements,
};

const oldBytes = () =>
  getHeapSpaceStatistics().find((space) => space.space_name === 'old_space')?.space_used_size ?? 0;

async function sendAll(store: Store, times: number): Promise<number> {
  let bytes = 0;
  for (let sent = 1; sent <= times; sent++) {
    bytes += await store.send();
    if (sent % 5 === 0) gc?.({ type: 'minor' });
  }
  return bytes;
}

const [name = '', url = ''] = process.argv.slice(2);
const store = await STORES[name]?.(url);
if (!store) throw new Error(`no such store: ${name}`);
await sendAll(store, 100);
gc?.();
const before = oldBytes();
const bytes = await sendAll(store, 300);
const share = (oldBytes() - before) / bytes;
await store.close();
process.stdout.write(String(share));
