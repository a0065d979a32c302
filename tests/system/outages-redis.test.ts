import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { untilIdle } from '../support/holdings.ts';
import {
  AMPLE,
  expectRows,
  expectUnbroken,
  hasOwnId,
  medianMs,
  modeOf,
  openEverywhere,
  startMixedLoad,
  UNDER_WAY,
  untilMode,
} from '../support/mixed-load.ts';
import { type Stack, startStack } from '../support/stack.ts';
import type { Load } from '../support/traffic.ts';

let stack: Stack;
let load: Load | undefined;

beforeAll(async () => {
  stack = await startStack();
}, 60_000);
afterEach(async () => void (await load?.stop()));
afterAll(() => stack.close(), 60_000);

interface Outage {
  readonly name: string;
  readonly begin: () => unknown;
  readonly end: () => unknown;
}

const OUTAGES: readonly Outage[] = [
  { name: 'refuses connections', begin: () => stack.redis.stop(), end: () => stack.redis.start() },
  { name: 'is frozen', begin: () => stack.redis.freeze(), end: () => stack.redis.thaw() },
  {
    name: 'has become a replica that takes no writes',
    begin: () => stack.redis.command('REPLICAOF', '127.0.0.1', 1),
    end: () => stack.redis.command('REPLICAOF', 'NO', 'ONE'),
  },
  {
    name: 'is out of memory',
    begin: () => stack.redis.command('CONFIG', 'SET', 'maxmemory', 1),
    end: () => stack.redis.command('CONFIG', 'SET', 'maxmemory', 0),
  },
];

describe.each(OUTAGES)('under load, while Redis $name', (outage) => {
  test('every request and stream goes on, limited by each replica, and nothing is lost or left behind', async () => {
    const { key, secret } = await stack.createKey({ limits: AMPLE });
    const { secret: other } = await stack.createKey({ limits: AMPLE });
    load = startMixedLoad(stack, secret);
    const streams = await openEverywhere(stack, other);
    await load.untilCompleted(UNDER_WAY);
    await untilMode(stack, 'exact', other);
    const usualMs = await medianMs(() => modeOf(stack, other));

    await outage.begin();
    try {
      await load.untilCompleted(UNDER_WAY);
      await untilMode(stack, 'degraded', other);
      // Only what met the outage has waited for Redis in vain, which takes longer than an answer.
      expect(await medianMs(() => modeOf(stack, other))).toBeLessThan(8 * usualMs);
    } finally {
      await outage.end();
    }
    await untilMode(stack, 'exact', other);
    await load.untilCompleted(UNDER_WAY);

    const { completed, failed } = await load.stop();
    expect(failed).toEqual([]);
    await expectUnbroken(streams);
    await untilIdle(stack);
    await expectRows(stack, key.keyId, completed);
  }, 120_000);
});

describe('under load, a Redis that', () => {
  test.each([
    ['is restarted', () => stack.redis.stop().then(() => stack.redis.start())],
    ['has lost its scripts', () => stack.redis.command('SCRIPT', 'FLUSH')],
  ] as const)(
    '%s fails no request and loses no usage',
    async (_what, happen) => {
      const { key, secret } = await stack.createKey({ limits: AMPLE });
      load = startMixedLoad(stack, secret);
      await load.untilCompleted(UNDER_WAY);
      await happen();
      await load.untilCompleted(2 * UNDER_WAY);
      const { completed, failed } = await load.stop();
      expect(failed).toEqual([]);
      await untilMode(stack, 'exact', (await stack.createKey({ limits: AMPLE })).secret);
      await untilIdle(stack);
      await expectRows(stack, key.keyId, completed);
    },
    120_000,
  );

  test('has lost everything fails no request, and keeps the usage of all that begins from then on', async () => {
    const { key, secret } = await stack.createKey({ limits: AMPLE });
    load = startMixedLoad(stack, secret);
    await load.untilCompleted(UNDER_WAY);
    await stack.redis.command('FLUSHALL');
    await load.untilCompleted(UNDER_WAY);
    const from = load.completed.length;
    await load.untilCompleted(2 * UNDER_WAY);
    const { completed, failed } = await load.stop();
    expect(failed).toEqual([]);
    await untilMode(stack, 'exact', secret);
    await untilIdle(stack);
    const kept = completed.slice(from).filter(hasOwnId);
    await eventually('the rows of all that was answered since', async () => {
      const written = new Set((await stack.operator.rows(key.keyId)).map((row) => row.request_id));
      return kept.every((id) => written.has(id));
    });
  }, 120_000);
});
