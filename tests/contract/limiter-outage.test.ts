import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import type { Limiter } from '../../src/core/ports.ts';
import type { Claim, Decision } from '../../src/domain/limit.ts';
import { openRedis, type SharedState } from '../../src/storage/redis.ts';
import { SILENCE_MS } from '../../src/storage/shards.ts';
import { openSignals, type SharedSignals } from '../../src/storage/signals.ts';
import { eventually } from '../support/eventually.ts';
import { type Forwarder, startForwarder } from '../support/forwarder.ts';
import { type PrivateRedis, startRedis } from '../support/redis.ts';
import {
  createTestLedger,
  createTestTelemetry,
  type TestLedger,
  type TestTelemetry,
  usageRecord,
} from '../support/shared-state.ts';

const LIMITS = { requestsPerMinute: 8, tokensPerMinute: 80, concurrentRequests: 8 };
const AWAY = 'Redis is away';
const BACK = 'Redis is back';

let redis: PrivateRedis;
let telemetry: TestTelemetry;
let ledger: TestLedger;
let state: SharedState;
let limiter: Limiter;
let count = 0;

function claimOf(keyId = 'key', tokens = 10): Claim {
  return { id: `request-${count++}`, keyId, limits: LIMITS, tokens };
}

/** The decision, if it comes without waiting for anything but promises: no timer and no network. */
function atOnce(decision: Promise<Decision>): Promise<Decision | 'not at once'> {
  return Promise.race([
    decision,
    new Promise<'not at once'>((resolve) => setImmediate(resolve, 'not at once')),
  ]);
}

async function open(url = redis.url): Promise<void> {
  state = await openRedis({
    url,
    replicas: 4,
    ledger,
    telemetry,
    clock: systemClock,
  });
  limiter = state.limiter;
}

beforeEach(async () => {
  redis = await startRedis();
  telemetry = createTestTelemetry();
  ledger = createTestLedger();
  await open();
});

afterEach(async () => {
  redis.thaw();
  await state.close();
  await redis.close();
});

function saidOnce(text: string): boolean {
  return telemetry.lines.filter((line) => line.message.includes(text)).length === 1;
}

/** What ends each outage, by what begins it. */
const OUTAGES: readonly (readonly [string, () => Promise<unknown>, () => Promise<unknown>])[] = [
  ['refuses connections', () => redis.stop(), () => redis.start()],
  ['is frozen', async () => redis.freeze(), async () => redis.thaw()],
  [
    'has become a read-only replica',
    () => redis.command('REPLICAOF', '127.0.0.1', 1),
    () => redis.command('REPLICAOF', 'NO', 'ONE'),
  ],
  [
    'is out of memory',
    () => redis.command('CONFIG', 'SET', 'maxmemory', 1),
    () => redis.command('CONFIG', 'SET', 'maxmemory', 0),
  ],
];

describe.each(OUTAGES)('while Redis %s', (_name, begin, end) => {
  test('this replica limits its share, at once after the first request, until Redis is back', async () => {
    expect(await limiter.claim(claimOf())).toMatchObject({ admitted: true, state: { mode: 'exact' } });
    const away = telemetry.next(AWAY);
    await begin();

    // Whoever notices it first pays for it, and no more than the time a command may take.
    expect(await limiter.claim(claimOf('other'))).toMatchObject({
      admitted: true,
      state: { mode: 'degraded' },
    });
    await away;
    expect(state.state()).toBe('down');
    expect(await atOnce(limiter.claim(claimOf('other')))).toMatchObject({
      admitted: true,
      state: { mode: 'degraded', requests: { limit: 2, remaining: 0 } },
    });
    expect(await atOnce(limiter.claim(claimOf('other')))).toMatchObject({ admitted: false });

    const back = telemetry.next(BACK);
    await end();
    await back;
    expect(state.state()).toBe('up');
    expect(await limiter.claim(claimOf())).toMatchObject({
      admitted: true,
      state: { mode: 'exact', requests: { limit: 8 } },
    });
    expect(saidOnce(AWAY)).toBe(true);
    expect(saidOnce(BACK)).toBe(true);
  });
});

describe('in a fail-over behind one address, after which the old server stays as a replica', () => {
  let next: PrivateRedis;
  let address: Forwarder;
  let later: SharedSignals | undefined;
  beforeEach(async () => {
    next = await startRedis();
    address = await startForwarder(redis.url);
    await state.close();
    await open(`redis://127.0.0.1:${address.port}`);
  });
  afterEach(async () => {
    await later?.close();
    await address.close();
    await next.close();
  });

  test('limits are exact again, usage moves, and signals reach whoever came later', async () => {
    expect(await limiter.claim(claimOf())).toMatchObject({ state: { mode: 'exact' } });
    const back = telemetry.next(BACK);
    address.leadTo(next.url);
    const { port } = new URL(next.url);
    await redis.command('REPLICAOF', '127.0.0.1', port);
    await limiter.claim(claimOf());
    await back;
    expect(await limiter.claim(claimOf())).toMatchObject({ admitted: true, state: { mode: 'exact' } });

    const record = usageRecord();
    state.usage.record(record);
    await ledger.has([record.id]);

    later = openSignals({ url: next.url });
    const heard = new Promise((resolve) => later?.subscribe(resolve));
    await eventually('a subscription of whoever came later, and ours', async () => {
      const [, count] = (await next.command('PUBSUB', 'NUMSUB', 'llmgw:signals')) as [string, number];
      return count === 2;
    });
    state.signals.publish({ type: 'keyChanged', keyId: 'key' });
    expect(await heard).toEqual({ type: 'keyChanged', keyId: 'key' });
  });
});

test('silence is taken for an outage within the 250 ms that an outage may cost a request', () => {
  expect(SILENCE_MS).toBeLessThanOrEqual(250);
});

test('a claim that a frozen Redis carries out late counts once, and its settlement ends its lease', async () => {
  redis.freeze();
  const claim = claimOf();
  expect(await limiter.claim(claim)).toMatchObject({ admitted: true, state: { mode: 'degraded' } });
  const back = telemetry.next(BACK);
  redis.thaw();
  await back;
  await limiter.settle(claim, 4);
  const after = await limiter.peek('key', LIMITS);
  expect(after.mode).toBe('exact');
  expect(after.concurrency?.remaining).toBe(8);
  // Whether the late claim was carried out is up to what the network had delivered; more than once it cannot be.
  expect(after.requests?.remaining).toBeGreaterThanOrEqual(7);
  expect(after.tokens?.remaining).toBe(76);
});

test('a request admitted during an outage is counted where it ends, here and in Redis', async () => {
  const away = telemetry.next(AWAY);
  await redis.stop();
  await away;
  const [first, second] = [claimOf(), claimOf()];
  await limiter.claim(first);
  await limiter.claim(second);
  expect(await limiter.claim(claimOf())).toMatchObject({
    admitted: false,
    state: { concurrency: { limit: 2 } },
  });
  await limiter.settle(first, 10);
  expect((await limiter.peek('key', LIMITS)).concurrency?.remaining).toBe(1);

  const back = telemetry.next(BACK);
  await redis.start();
  await back;
  await limiter.renew([second]);
  expect((await limiter.peek('key', LIMITS)).concurrency?.remaining).toBe(7);
  await limiter.settle(second, 30);
  const after = await limiter.peek('key', LIMITS);
  expect(after.concurrency?.remaining).toBe(8);
  expect(after.tokens?.remaining).toBe(50);
});

test('a request that Redis admitted and that ends while it is away is paid for in full when it is back', async () => {
  const limits = { tokensPerMinute: 60_000 };
  const claim = { ...claimOf('key', 1024), limits };
  await limiter.claim(claim);
  await redis.command('REPLICAOF', '127.0.0.1', 1);
  await limiter.settle(claim, 50_000);
  const back = telemetry.next(BACK);
  await redis.command('REPLICAOF', 'NO', 'ONE');
  await back;
  const { mode, tokens } = await limiter.peek('key', limits);
  expect(mode).toBe('exact');
  // 1,000 come back in a second.
  expect(tokens?.remaining).toBeGreaterThanOrEqual(10_000);
  expect(tokens?.remaining).toBeLessThan(40_000);
});

test('a claim that was under way when Redis went away, and was refused here, holds nothing when it is back', async () => {
  await redis.command('CLIENT', 'PAUSE', 1000, 'WRITE');
  const limits = { tokensPerMinute: 80 };
  const claims = Array.from({ length: 2 }, () => ({ ...claimOf('key', 20), limits }));
  const decisions = await Promise.all(claims.map((claim) => limiter.claim(claim)));
  expect(decisions.map(({ admitted }) => admitted)).toEqual([true, false]);
  await telemetry.next(BACK);
  expect((await limiter.peek('key', limits)).tokens?.remaining).toBeGreaterThanOrEqual(60);
});

test('a request larger than this replica’s share takes the share and is not refused for good', async () => {
  await redis.stop();
  expect(await limiter.claim(claimOf('key', 80))).toMatchObject({
    admitted: true,
    state: { tokens: { limit: 20, remaining: 0 } },
  });
  expect(await limiter.claim(claimOf('another', 81))).toMatchObject({
    admitted: false,
    retryAfterMs: undefined,
  });
});

test('scripts that Redis has forgotten are sent again, without a word', async () => {
  await limiter.claim(claimOf());
  await redis.command('SCRIPT', 'FLUSH');
  const decision = await limiter.claim(claimOf());
  expect(decision).toMatchObject({ admitted: true, state: { mode: 'exact', requests: { remaining: 6 } } });
  expect(telemetry.lines).toEqual([]);
});

test('running requests take their places again in a Redis that restarted empty', async () => {
  const claim = claimOf();
  await limiter.claim(claim);
  const back = telemetry.next(BACK);
  await redis.stop();
  await redis.start();
  await back;
  expect((await limiter.peek('key', LIMITS)).concurrency?.remaining).toBe(8);
  await limiter.renew([claim]);
  expect((await limiter.peek('key', LIMITS)).concurrency?.remaining).toBe(7);
});

test('a Redis that still reads its data counts as away until it has', async () => {
  await redis.command('EVAL', "for i = 1, 20000 do redis.call('SET', i, i) end", 0);
  await redis.command('SAVE');
  await redis.stop();
  await limiter.claim(claimOf());
  // Two seconds of reading, in which every command is answered with LOADING.
  await redis.start(['--key-load-delay', '100', '--loading-process-events-interval-bytes', '1024']);
  expect(await limiter.claim(claimOf())).toMatchObject({ state: { mode: 'degraded' } });
  await telemetry.next(BACK);
  expect(await limiter.claim(claimOf())).toMatchObject({ state: { mode: 'exact' } });
});

test('a gateway that starts while Redis is away limits its share, and is exact when Redis comes', async () => {
  await state.close();
  await redis.stop();
  await open();
  expect(state.state()).toBe('down');
  expect(await atOnce(limiter.claim(claimOf()))).toMatchObject({ state: { mode: 'degraded' } });
  const back = telemetry.next(BACK);
  await redis.start();
  await back;
  expect(await limiter.claim(claimOf())).toMatchObject({ state: { mode: 'exact' } });
});
