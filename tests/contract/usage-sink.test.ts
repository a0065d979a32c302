import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { systemClock } from '../../src/clock.ts';
import type { UsageRecord } from '../../src/domain/record.ts';
import { connect } from '../../src/storage/connection.ts';
import { openInProcess, openRedis, type SharedState } from '../../src/storage/redis.ts';
import type { Ask } from '../../src/storage/silence.ts';
import { encodeEntry } from '../../src/storage/usage-entry.ts';
import { createUsageQueue, keep, QUEUE_CAPACITY } from '../../src/storage/usage-queue.ts';
import { createStreamSink } from '../../src/storage/usage-stream.ts';
import { startUsageSweep } from '../../src/storage/usage-sweep.ts';
import type { Watch } from '../../src/storage/watch.ts';
import { createTestClock } from '../support/clock.ts';
import { eventually } from '../support/eventually.ts';
import { type PrivateRedis, sharedRedisUrl, startRedis } from '../support/redis.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import {
  createTestLedger,
  createTestTelemetry,
  type TestLedger,
  type TestTelemetry,
  usageRecord,
} from '../support/shared-state.ts';

function records(count: number): readonly UsageRecord[] {
  return Array.from({ length: count }, () => usageRecord());
}

function idsOf(list: readonly UsageRecord[]): readonly string[] {
  return list.map((record) => record.id);
}

let ledger: TestLedger;
let telemetry: TestTelemetry;
const opened: { close(): unknown }[] = [];
beforeEach(() => {
  ledger = createTestLedger();
  telemetry = createTestTelemetry();
});
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource.close();
});

async function open(url: string, prefix: string, into = ledger, leftBehindMs = 200): Promise<SharedState> {
  const options = { url, prefix, ledger: into, telemetry, clock: systemClock, replicas: 1, leftBehindMs };
  const state = await openRedis(options);
  opened.push(state);
  return state;
}

let cluster: RedisCluster;
beforeAll(async () => {
  cluster = await startRedisCluster();
});
afterAll(() => cluster.close());

describe.each([
  ['in process', async (_prefix: string) => openInProcess({ ledger, telemetry, clock: systemClock })],
  ['through Redis', (prefix: string) => open(sharedRedisUrl(), prefix)],
  ['through a Redis Cluster', (prefix: string) => open(cluster.url, prefix)],
])('usage %s', (_name, openWith) => {
  let openIt: () => Promise<SharedState>;
  beforeEach(() => {
    const prefix = `test-${randomUUID()}`;
    openIt = () => openWith(prefix);
  });

  test('reaches the ledger, each record once, in batches', async () => {
    const state = await openIt();
    opened.push(state);
    const list = records(1000);
    for (const record of list) state.usage.record(record);
    await ledger.has(idsOf(list));
    expect(ledger.ids.size).toBe(1000);
    expect(ledger.writes.length).toBeLessThan(100);
    expect(telemetry.lines).toEqual([]);
  });

  test('waits while the ledger is away, and loses nothing', async () => {
    const state = await openIt();
    opened.push(state);
    ledger.away = true;
    const list = records(300);
    for (const record of list) state.usage.record(record);
    await new Promise((resolve) => setTimeout(resolve, 300));
    ledger.away = false;
    await ledger.has(idsOf(list));
    expect(telemetry.lost()).toBe(0);
  });

  test('is counted for as long as it waits', async () => {
    const state = await openIt();
    opened.push(state);
    const waiting = () => state.backlog().reduce((sum, place) => sum + place.records, 0);
    expect(waiting()).toBe(0);
    ledger.away = true;
    for (const record of records(300)) state.usage.record(record);
    expect(waiting()).toBe(300);
    await eventually(
      'nothing on its way to Redis',
      () => waiting() === 300 && state.backlog().at(-1)?.records === 300,
    );
    ledger.away = false;
    await eventually('nothing to wait', () => waiting() === 0);
  });

  test('that the ledger refuses for what it is does not keep the rest from it', async () => {
    const state = await openIt();
    opened.push(state);
    const list = records(200);
    const [bad, ...good] = idsOf(list);
    ledger.refused.add(bad ?? '');
    const said = telemetry.next('dropped');
    for (const record of list) state.usage.record(record);
    await ledger.has(good);
    await said;
    expect(telemetry.lost()).toBe(1);
  });

  test('is safe when a flush has ended', async () => {
    const state = await openIt();
    const list = records(500);
    for (const record of list) state.usage.record(record);
    await state.usage.flush();
    await state.close();
    // What is not in the ledger is in Redis, where the next replica finds it.
    opened.push(await openIt());
    await ledger.has(idsOf(list));
  });
});

describe('usage in the queue of one process', () => {
  test('is bounded: what falls out is counted, and told once a burst', async () => {
    const clock = createTestClock();
    const queue = createUsageQueue({
      clock,
      telemetry,
      store: (list) => keep(ledger, telemetry, list),
      capacity: 10,
    });
    ledger.away = true;
    for (const record of records(25)) queue.record(record);
    await clock.advance(60_000);
    expect(telemetry.lost()).toBe(15);
    expect(telemetry.lines).toHaveLength(1);

    ledger.away = false;
    await clock.advance(10_000);
    expect(ledger.ids.size).toBe(10);
    ledger.away = true;
    for (const record of records(12)) queue.record(record);
    expect(telemetry.lost()).toBe(17);
    expect(telemetry.lines).toHaveLength(2);
    queue.close();
    expect(clock.pending()).toBe(0);
  });

  test('is written when it has waited a little, or sooner when it is much', async () => {
    const clock = createTestClock();
    const queue = createUsageQueue({ clock, telemetry, store: (list) => keep(ledger, telemetry, list) });
    queue.record(usageRecord());
    await clock.advance(100);
    expect(ledger.writes).toEqual([]);
    await clock.advance(100);
    expect(ledger.writes).toEqual([1]);
    for (const record of records(200)) queue.record(record);
    await clock.advance(0);
    expect(ledger.writes).toEqual([1, 200]);
  });

  test('a flush gives up where nothing takes the records', async () => {
    const clock = createTestClock();
    const queue = createUsageQueue({ clock, telemetry, store: () => new Promise(() => undefined) });
    queue.record(usageRecord());
    const flushed = queue.flush();
    await clock.advance(5000);
    await flushed;
    expect(QUEUE_CAPACITY).toBe(10_000);
  });

  test('what no store has taken by the end is counted and told', async () => {
    const clock = createTestClock();
    ledger.away = true;
    const queue = createUsageQueue({ clock, telemetry, store: (list) => keep(ledger, telemetry, list) });
    for (const record of records(3)) queue.record(record);
    const flushed = queue.flush();
    await clock.advance(5000);
    await flushed;
    queue.close();
    expect(telemetry.lost()).toBe(3);
    expect(telemetry.lines).toHaveLength(1);
    expect(clock.pending()).toBe(0);
  });
});

describe('usage through Redis', () => {
  const unique = () => `test-${randomUUID()}`;

  test('leaves nothing behind in Redis once it is in the ledger', async () => {
    const prefix = unique();
    const { usage } = await open(sharedRedisUrl(), prefix);
    const list = records(50);
    for (const record of list) usage.record(record);
    await ledger.has(idsOf(list));
    const redis = new Redis(sharedRedisUrl());
    opened.push({ close: () => redis.disconnect() });
    await eventually('an empty stream', async () => (await redis.xlen(`${prefix}:usage`)) === 0);
  });

  test('that a replica has and cannot write is written by another', async () => {
    const prefix = unique();
    const stuck = createTestLedger();
    stuck.away = true;
    const first = await open(sharedRedisUrl(), prefix, stuck);
    const list = records(20);
    for (const record of list) first.usage.record(record);
    await open(sharedRedisUrl(), prefix);
    await ledger.has(idsOf(list));
  });

  test('entries that are no records are dropped with one line and stop nothing', async () => {
    const prefix = unique();
    const redis = new Redis(sharedRedisUrl());
    opened.push({ close: () => redis.disconnect() });
    const good = usageRecord();
    const malformed = [
      '',
      '{',
      'null',
      '[]',
      '{}',
      encodeEntry(good).replace('"started_at":"', '"started_at":"never'),
    ];
    for (const entry of malformed) await redis.xadd(`${prefix}:usage`, '*', 'record', entry);
    await redis.xadd(`${prefix}:usage`, '*', 'something', 'else', 'and', 'more');
    await redis.xadd(`${prefix}:usage`, '*', 'record', encodeEntry(good));
    const said = telemetry.next('no usage records');
    await open(sharedRedisUrl(), prefix);
    await ledger.has([good.id]);
    await said;
    expect(telemetry.lines).toHaveLength(1);
    expect(telemetry.lost()).toBe(malformed.length + 1);
  });

  test('entries with values and fields of a newer replica are kept, whatever else is refused', async () => {
    const prefix = unique();
    const redis = new Redis(sharedRedisUrl());
    opened.push({ close: () => redis.disconnect() });
    const newer = {
      protocol: 'p',
      operation: 'o',
      status: 's',
      error_code: 'e',
      finish_reason: 'f',
      more: {},
    };
    const row = JSON.parse(encodeEntry(usageRecord('newer')));
    await redis.xadd(`${prefix}:usage`, '*', 'record', JSON.stringify({ ...row, ...newer }));
    await redis.xadd(`${prefix}:usage`, '*', 'record', '{}');
    const said = telemetry.next('no usage records');
    await open(sharedRedisUrl(), prefix);
    await ledger.has(['newer']);
    await said;
    expect(telemetry.lost()).toBe(1);
  });

  test('entries that the ledger refuses are tried again, and keep no others from it', async () => {
    const prefix = unique();
    const redis = new Redis(sharedRedisUrl());
    opened.push({ close: () => redis.disconnect() });
    const refused = records(100);
    const taken = usageRecord();
    for (const id of idsOf(refused)) ledger.refused.add(id);
    for (const record of [...refused, taken]) {
      await redis.xadd(`${prefix}:usage`, '*', 'record', encodeEntry(record));
    }
    await open(sharedRedisUrl(), prefix);
    await ledger.has([taken.id]);
    await eventually('only the refused', async () => (await redis.xlen(`${prefix}:usage`)) === 100);
    ledger.refused.clear();
    await ledger.has(idsOf(refused));
    expect(telemetry.lost()).toBe(0);
  });

  test('is left to its replica for as long as that is at it', async () => {
    const prefix = unique();
    const redis = new Redis(sharedRedisUrl());
    opened.push({ close: () => redis.disconnect() });
    const putAt = Date.now() - 10_000;
    await redis.xadd(`${prefix}:usage`, `${putAt}-0`, 'record', encodeEntry(usageRecord()));
    const { usage } = await open(sharedRedisUrl(), prefix, ledger, 60_000);
    const own = usageRecord();
    usage.record(own);
    await ledger.has([own.id]);
    await eventually('what is not its own', async () => (await redis.xlen(`${prefix}:usage`)) === 1);
    expect([...ledger.ids]).toEqual([own.id]);
  });

  describe('in an outage', () => {
    let redis: PrivateRedis;
    beforeEach(async () => {
      redis = await startRedis();
      opened.push(redis);
    });

    test.each<readonly [string, () => unknown]>([
      ['refuses', () => redis.stop()],
      ['is frozen', () => redis.freeze()],
      ['is out of memory', () => redis.command('CONFIG', 'SET', 'maxmemory', 1)],
    ])('goes to the ledger directly while Redis %s', async (_outage, begin) => {
      const { usage } = await open(redis.url, 'test');
      await begin();
      const list = records(30);
      for (const record of list) usage.record(record);
      await ledger.has(idsOf(list));
      expect(telemetry.lost()).toBe(0);
      redis.thaw();
    });

    async function openSink(capacity: number) {
      const commands = connect(redis.url, () => undefined);
      opened.push({ close: () => commands.disconnect() });
      await new Promise((resolve) => commands.once('ready', resolve));
      const watch: Watch = {
        isUp: () => true,
        failed: () => undefined,
        check: async () => undefined,
        close: () => undefined,
      };
      const ask: Ask = (command) => command();
      const shard = () => ({ ask, watch });
      const stream = 'test:usage';
      const options = { redis: commands, stream, shard, ledger, telemetry, clock: systemClock };
      const sink = createStreamSink({ ...options, capacity });
      opened.push(sink);
      return { commands, options, sink };
    }

    test('has been handed to the system when its departure is over', async () => {
      const { commands, sink } = await openSink(5);
      const append = jest.spyOn(commands, 'appendUsage');
      sink.record(usageRecord());
      await sink.departure?.();
      expect(append).toHaveBeenCalledTimes(1);
      expect((commands as Redis).stream.writableLength).toBe(0);
    });

    test('goes to the ledger directly while the stream is full', async () => {
      const { commands, sink } = await openSink(5);
      const append = jest.spyOn(commands, 'appendUsage');
      const list = records(8);
      for (const record of list) sink.record(record);
      await sink.flush();
      // All of one turn in one command, and then once more what did not fit, as there may be room again.
      expect(append.mock.calls.map(([, , ...entries]) => entries.length)).toEqual([8, 3]);
      expect([...ledger.ids]).toEqual(idsOf([...list.slice(5), ...list.slice(0, 5)]));
      expect(ledger.writes).toEqual([3, 5]);
    });

    test('beyond what a replica has at hand it is left to the sweeps', async () => {
      const { options, sink } = await openSink(20_000);
      ledger.away = true;
      const list = records(10_100);
      for (const record of list) sink.record(record);
      await eventually(
        'all of it in Redis',
        async () => (await redis.command('XLEN', 'test:usage')) === 10_100,
      );
      ledger.away = false;
      await sink.flush();
      expect([...ledger.ids]).toEqual(idsOf(list.slice(0, 10_000)));
      expect(await redis.command('XLEN', 'test:usage')).toBe(100);
      opened.push(startUsageSweep({ ...options, leftBehindMs: 10 }));
      await ledger.has(idsOf(list));
    });

    test('with both away it waits here, and goes to Redis when that is back first', async () => {
      const state = await open(redis.url, 'test');
      ledger.away = true;
      await redis.stop();
      const list = records(20);
      for (const record of list) state.usage.record(record);
      const back = telemetry.next('Redis is back');
      await redis.start();
      await back;
      await state.usage.flush();
      expect(await redis.command('XLEN', 'test:usage')).toBe(20);
      ledger.away = false;
      await ledger.has(idsOf(list));
    });

    test('that fills Redis is moved out of it by a replica that starts', async () => {
      const list = records(30);
      for (const record of list)
        await redis.command('XADD', 'test:usage', '*', 'record', encodeEntry(record));
      await redis.command('CONFIG', 'SET', 'maxmemory', 1);
      await open(redis.url, 'test');
      await ledger.has(idsOf(list));
      await eventually('an empty stream', async () => (await redis.command('XLEN', 'test:usage')) === 0);
    });

    test('that Redis refuses to hand over is told once, and moves as soon as it does', async () => {
      await redis.command('SET', 'test:usage', 'no stream');
      const { options } = await openSink(5);
      opened.push(startUsageSweep({ ...options, leftBehindMs: 10 }));
      await eventually('several tries', async () =>
        /errorstat_WRONGTYPE:count=[3-9]/.test(String(await redis.command('INFO', 'errorstats'))),
      );
      expect(telemetry.lines).toEqual([{ level: 'error', message: expect.stringContaining('refuses') }]);
      await redis.command('DEL', 'test:usage');
      const record = usageRecord();
      await redis.command('XADD', 'test:usage', '*', 'record', encodeEntry(record));
      await ledger.has([record.id]);
      expect(telemetry.lines).toHaveLength(1);
    });

    test('moves again after Redis has lost everything', async () => {
      const { usage } = await open(redis.url, 'test');
      ledger.away = true;
      const lost = usageRecord();
      usage.record(lost);
      await eventually('its entry', async () => (await redis.command('XLEN', 'test:usage')) === 1);
      await redis.command('FLUSHALL');
      await redis.command('SCRIPT', 'FLUSH');
      ledger.away = false;
      const next = usageRecord();
      usage.record(next);
      // What this replica has at hand is not lost with it.
      await ledger.has([lost.id, next.id]);
      await eventually('an empty stream', async () => (await redis.command('XLEN', 'test:usage')) === 0);
      expect(telemetry.lines).toEqual([]);
    });
  });
});
