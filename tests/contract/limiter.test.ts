import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { LEASE_TTL_MS, type Limiter } from '../../src/core/ports.ts';
import type { Claim, Limits } from '../../src/domain/limit.ts';
import { type Connection, connect } from '../../src/storage/connection.ts';
import { createRedisLimiter } from '../../src/storage/limiter.ts';
import { createMemoryLimiter } from '../../src/storage/memory.ts';
import { createTestClock } from '../support/clock.ts';
import { sharedRedisUrl } from '../support/redis.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';

interface Subject {
  readonly limiter: Limiter;
  /** Lets time pass for one key. On Redis it also passes by itself, so tests count in seconds and not in milliseconds. */
  advance(keyId: string, ms: number): Promise<void>;
}

let server: Connection;
let cluster: Connection;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  const nodes = await startRedisCluster();
  opened.defer(() => nodes.close());
  [server, cluster] = await Promise.all([openConnection(sharedRedisUrl()), openConnection(nodes.url)]);
});
afterAll(() => opened.disposeAsync());

async function openConnection(url: string): Promise<Connection> {
  const redis = connect(url, () => undefined);
  opened.defer(() => redis.disconnect());
  await new Promise((resolve) => redis.once('ready', resolve));
  return redis;
}

function openMemory(): Subject {
  const clock = createTestClock();
  return { limiter: createMemoryLimiter(clock), advance: (_keyId, ms) => clock.advance(ms) };
}

/** Time passes by moving everything that is stored into the past. */
function openRedis(redis: Connection): Subject {
  const prefix = `test-${randomUUID()}`;
  const advance = `
    if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'at', -ARGV[1]) end
    for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('ZINCRBY', KEYS[2], -ARGV[1], id) end`;
  return {
    limiter: createRedisLimiter(redis, prefix, () => (command) => command()),
    async advance(keyId, ms) {
      await redis.eval(advance, 2, `${prefix}:{${keyId}}:used`, `${prefix}:{${keyId}}:expiry`, ms);
    },
  };
}

let count = 0;
function claimOf(limits: Limits, tokens = 0, id = `request-${count++}`): Claim {
  return { id, keyId: 'key', limits, tokens };
}

describe.each([
  ['in memory', () => openMemory()],
  ['in Redis', () => openRedis(server)],
  ['in a Redis Cluster', () => openRedis(cluster)],
])('limits %s', (_name, open) => {
  test('admit as many requests as the limit, then say which limit refuses and when the same claim passes', async () => {
    const { limiter, advance } = open();
    const limits = { requestsPerMinute: 2 };
    expect((await limiter.claim(claimOf(limits))).state.requests?.remaining).toBe(1);
    expect((await limiter.claim(claimOf(limits))).state.requests?.remaining).toBe(0);

    const refused = await limiter.claim(claimOf(limits));
    if (refused.admitted) throw new Error('a third request was admitted');
    expect(refused.refusedBy).toBe('requests');
    expect(refused.retryAfterMs).toBeGreaterThan(25_000);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(30_000);
    expect(refused.state.requests?.resetMs).toBeGreaterThan(55_000);

    await advance('key', (refused.retryAfterMs ?? 0) - 5000);
    expect((await limiter.claim(claimOf(limits))).admitted).toBe(false);
    await advance('key', 5000);
    expect((await limiter.claim(claimOf(limits))).admitted).toBe(true);
    expect((await limiter.claim(claimOf(limits))).admitted).toBe(false);
  });

  test('refill a bucket to its capacity and not beyond', async () => {
    const { limiter, advance } = open();
    const limits = { requestsPerMinute: 3 };
    await limiter.claim(claimOf(limits));
    await advance('key', 3_600_000);
    expect((await limiter.peek('key', limits)).requests).toEqual({ limit: 3, remaining: 3, resetMs: 0 });
  });

  test('take nothing for a refused claim, from any limit', async () => {
    const { limiter } = open();
    const limits = { requestsPerMinute: 5, tokensPerMinute: 10, concurrentRequests: 5 };
    await limiter.claim(claimOf(limits, 8));
    for (let i = 0; i < 10; i++) {
      expect(await limiter.claim(claimOf(limits, 8))).toMatchObject({ admitted: false, refusedBy: 'tokens' });
    }
    const state = await limiter.peek('key', limits);
    expect(state.requests?.remaining).toBe(4);
    expect(state.tokens?.remaining).toBe(2);
    expect(state.concurrency?.remaining).toBe(4);
  });

  test('name the limit that keeps a claim waiting longest', async () => {
    const { limiter } = open();
    const limits = { requestsPerMinute: 60, tokensPerMinute: 10, concurrentRequests: 1 };
    await limiter.claim(claimOf(limits, 10));
    expect(await limiter.claim(claimOf(limits, 0))).toMatchObject({ refusedBy: 'concurrency' });
    expect(await limiter.claim(claimOf(limits, 10))).toMatchObject({ refusedBy: 'tokens' });
  });

  test('hold a claim’s tokens and give back what was not used, never above the capacity', async () => {
    const { limiter, advance } = open();
    const limits = { tokensPerMinute: 100 };
    const claim = claimOf(limits, 60);
    expect((await limiter.claim(claim)).state.tokens?.remaining).toBe(40);
    await limiter.settle(claim, 10);
    expect((await limiter.peek('key', limits)).tokens?.remaining).toBe(90);

    const late = claimOf(limits, 80);
    await limiter.claim(late);
    await advance('key', 25_000);
    await limiter.renew([late]);
    await advance('key', 25_000);
    await limiter.settle(late, 0);
    expect((await limiter.peek('key', limits)).tokens).toEqual({ limit: 100, remaining: 100, resetMs: 0 });
  });

  test('let a settlement leave a debt of all that was used, which later claims wait for', async () => {
    const { limiter, advance } = open();
    const limits = { tokensPerMinute: 60 };
    const claim = claimOf(limits, 60);
    await limiter.claim(claim);
    await limiter.settle(claim, 1800);
    const refused = await limiter.claim(claimOf(limits, 60));
    if (refused.admitted) throw new Error('a request was admitted in spite of the debt');
    expect(refused.refusedBy).toBe('tokens');
    expect(refused.retryAfterMs).toBeGreaterThan(29.9 * 60_000);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(30 * 60_000);
    await advance('key', 28.9 * 60_000);
    expect(await limiter.claim(claimOf(limits, 0))).toMatchObject({ admitted: false, refusedBy: 'tokens' });
    await advance('key', 1.1 * 60_000);
    expect((await limiter.peek('key', limits)).tokens?.remaining).toBe(60);
  });

  test('let an absurd number of tokens lock a key for an hour at most', async () => {
    const { limiter, advance } = open();
    for (const limits of [{ tokensPerMinute: 60 }, { tokensPerMinute: 2_000_000_000 }]) {
      for (const real of [Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
        const claim = claimOf(limits, 1);
        await limiter.claim(claim);
        await limiter.settle(claim, real);
        expect((await limiter.peek('key', limits)).tokens?.remaining).toBeLessThan(
          limits.tokensPerMinute / 2,
        );
        await advance('key', 3_600_000);
        expect((await limiter.peek('key', limits)).tokens?.remaining).toBe(limits.tokensPerMinute);
      }
    }
  });

  test('stay exact in the deepest debt of the largest limit', async () => {
    const { limiter, advance } = open();
    const limits = { tokensPerMinute: 2_000_000_000 };
    for (let i = 0; i < 60; i++) await limiter.settle(claimOf(limits), 2_000_000_000);
    await advance('key', 3_600_000);
    await limiter.claim(claimOf(limits, 1));
    // A millisecond brings back 33,334 of these.
    expect((await limiter.peek('key', limits)).tokens?.remaining).toBeGreaterThanOrEqual(1_999_999_999);
  });

  test('count the first settlement of a claim only', async () => {
    const { limiter } = open();
    const limits = { tokensPerMinute: 100, concurrentRequests: 3 };
    const claim = claimOf(limits, 50);
    await limiter.claim(claim);
    await limiter.settle(claim, 20);
    await limiter.settle(claim, 90);
    await limiter.settle(claim, 0);
    const state = await limiter.peek('key', limits);
    expect(state.tokens?.remaining).toBe(80);
    expect(state.concurrency?.remaining).toBe(3);
  });

  test('take once for a claim that arrives twice, also after its settlement', async () => {
    const { limiter } = open();
    const limits = { requestsPerMinute: 10, tokensPerMinute: 100, concurrentRequests: 1 };
    const claim = claimOf(limits, 30);
    await limiter.claim(claim);
    expect((await limiter.claim(claim)).admitted).toBe(true);
    await limiter.settle(claim, 30);
    await limiter.claim(claim);
    const state = await limiter.peek('key', limits);
    expect(state.requests?.remaining).toBe(9);
    expect(state.tokens?.remaining).toBe(70);
    expect(state.concurrency?.remaining).toBe(1);
  });

  test('take nothing for a claim that is carried out after its settlement', async () => {
    const { limiter } = open();
    const limits = { requestsPerMinute: 10, tokensPerMinute: 100, concurrentRequests: 1 };
    const claim = claimOf(limits, 30);
    await limiter.settle(claim, 5);
    await limiter.claim(claim);
    await limiter.renew([claim]);
    const state = await limiter.peek('key', limits);
    expect(state.requests?.remaining).toBe(10);
    expect(state.tokens?.remaining).toBe(95);
    expect(state.concurrency?.remaining).toBe(1);
  });

  test('refuse a claim larger than the whole limit without a time to try again', async () => {
    const { limiter } = open();
    const decision = await limiter.claim(claimOf({ tokensPerMinute: 100, requestsPerMinute: 1 }, 101));
    expect(decision).toMatchObject({ admitted: false, refusedBy: 'tokens', retryAfterMs: undefined });
    expect(await limiter.claim(claimOf({ concurrentRequests: 0 }))).toMatchObject({
      admitted: false,
      refusedBy: 'concurrency',
      retryAfterMs: undefined,
    });
  });

  test('free a concurrency slot when its request is settled', async () => {
    const { limiter } = open();
    const limits = { concurrentRequests: 2 };
    const first = claimOf(limits);
    await limiter.claim(first);
    await limiter.claim(claimOf(limits));
    const refused = await limiter.claim(claimOf(limits));
    expect(refused).toMatchObject({ admitted: false, refusedBy: 'concurrency', retryAfterMs: 1000 });
    await limiter.settle(first, 0);
    expect((await limiter.claim(claimOf(limits))).admitted).toBe(true);
  });

  test('free the slot of a replica that died when its lease ends, and keep a renewed one', async () => {
    const { limiter, advance } = open();
    const limits = { concurrentRequests: 2 };
    const [dead, alive] = [claimOf(limits), claimOf(limits)];
    await limiter.claim(dead);
    await limiter.claim(alive);
    await advance('key', LEASE_TTL_MS - 5000);
    await limiter.renew([alive]);
    expect((await limiter.peek('key', limits)).concurrency?.remaining).toBe(0);
    await advance('key', 5000);
    expect((await limiter.peek('key', limits)).concurrency?.remaining).toBe(1);
    await limiter.settle(alive, 0);
    expect((await limiter.peek('key', limits)).concurrency?.remaining).toBe(2);
  });

  test('count a request again that outlived its lease and is renewed, and let it pay in full', async () => {
    const { limiter, advance } = open();
    const limits = { tokensPerMinute: 60, concurrentRequests: 1 };
    const claim = claimOf(limits, 30);
    await limiter.claim(claim);
    await advance('key', 4 * LEASE_TTL_MS);
    await limiter.renew([claim]);
    expect((await limiter.peek('key', limits)).concurrency?.remaining).toBe(0);
    await limiter.settle(claim, 20);
    const state = await limiter.peek('key', limits);
    expect(state.concurrency?.remaining).toBe(1);
    expect(state.tokens?.remaining).toBe(40);
  });

  test('apply a raised or lowered limit from the next claim on', async () => {
    const { limiter, advance } = open();
    for (let i = 0; i < 4; i++) await limiter.claim(claimOf({ requestsPerMinute: 4 }));
    expect((await limiter.peek('key', { requestsPerMinute: 10 })).requests?.remaining).toBe(6);
    expect((await limiter.claim(claimOf({ requestsPerMinute: 10 }))).admitted).toBe(true);
    expect((await limiter.claim(claimOf({ requestsPerMinute: 1 }))).admitted).toBe(false);
    await advance('key', 120_000);
    expect((await limiter.peek('key', { requestsPerMinute: 1 })).requests?.remaining).toBe(1);
  });

  test('never take less than nothing, whatever number of tokens is claimed or settled', async () => {
    const { limiter } = open();
    const limits = { tokensPerMinute: 100, concurrentRequests: 100 };
    await limiter.claim(claimOf(limits, 50));
    for (const tokens of [-1, Number.NEGATIVE_INFINITY, -0.5, Number.MIN_SAFE_INTEGER]) {
      const claim = claimOf(limits, tokens);
      await limiter.claim(claim);
      await limiter.settle(claim, tokens);
      expect((await limiter.peek('key', limits)).tokens?.remaining).toBe(50);
    }
    for (const tokens of [Number.NaN, Number.POSITIVE_INFINITY, Number.MAX_VALUE]) {
      expect(await limiter.claim(claimOf(limits, tokens))).toMatchObject({ retryAfterMs: undefined });
    }
    const fraction = claimOf(limits, 0.2);
    await limiter.claim(fraction);
    expect((await limiter.peek('key', limits)).tokens?.remaining).toBe(49);
    await limiter.settle(fraction, Number.NaN);
    expect((await limiter.peek('key', limits)).tokens?.remaining).toBe(49);
  });

  test('stay exact at the largest limits', async () => {
    const { limiter } = open();
    const limits = { tokensPerMinute: 2_000_000_000, requestsPerMinute: 2_000_000_000 };
    const claim = claimOf(limits, 1_999_999_999);
    const decision = await limiter.claim(claim);
    expect(decision.state.tokens?.limit).toBe(2_000_000_000);
    await limiter.settle(claim, 1e308);
    // A millisecond brings back 33,334 of these.
    expect((await limiter.peek('key', limits)).tokens?.remaining).toBeLessThan(200_000_000);
  });

  test('apply those of each operation, in the order in which they were asked for at once', async () => {
    const { limiter } = open();
    const [one, two] = [{ concurrentRequests: 1 }, { concurrentRequests: 2 }];
    const first = claimOf(two);
    const decisions = [limiter.claim(first), limiter.claim(claimOf(one))];
    void limiter.settle(first, 0);
    decisions.push(limiter.claim(claimOf(one)), limiter.claim(claimOf(two)), limiter.claim(claimOf(two)));
    const admitted = (await Promise.all(decisions)).map((decision) => decision.admitted);
    expect(admitted).toEqual([true, false, true, true, false]);
  });

  test('keep keys apart, and leave a key without limits alone', async () => {
    const { limiter } = open();
    const limits = { requestsPerMinute: 1 };
    expect((await limiter.claim({ id: 'one', keyId: 'a', limits, tokens: 0 })).admitted).toBe(true);
    expect((await limiter.claim({ id: 'two', keyId: 'b', limits, tokens: 0 })).admitted).toBe(true);
    expect(await limiter.claim({ id: 'three', keyId: 'c', limits: {}, tokens: 1e12 })).toEqual({
      admitted: true,
      state: { mode: 'exact' },
    });
  });

  test('admit one of many simultaneous claims for one unit', async () => {
    const { limiter } = open();
    const limits = { tokensPerMinute: 10 };
    const decisions = await Promise.all(
      Array.from({ length: 100 }, () => limiter.claim(claimOf(limits, 10))),
    );
    expect(decisions.filter((decision) => decision.admitted)).toHaveLength(1);
  });
});

/** What a caller may do next. Times are whole seconds, and so is what one unit of each limit takes to come back. */
type Act =
  | { readonly do: 'claim'; readonly request: number; readonly tokens: number }
  | { readonly do: 'settle'; readonly request: number; readonly tokens: number }
  | { readonly do: 'renew'; readonly request: number }
  | { readonly do: 'wait'; readonly seconds: number };

const request = fc.nat({ max: 7 });
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('claim' as const), request, tokens: fc.nat(70) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const), request, tokens: fc.nat(400) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renew' as const), request }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 40 }) }),
  },
);
const LIMITS = { requestsPerMinute: 6, tokensPerMinute: 60, concurrentRequests: 3 };

/**
 * @param together whether what is done between two waits is done in one turn of the event loop.
 * @returns what can be seen of each act.
 */
async function perform(
  { limiter, advance }: Subject,
  acts: readonly Act[],
  together: boolean,
): Promise<readonly unknown[]> {
  const seen: Promise<unknown>[] = [];
  const performOne = (step: Exclude<Act, { do: 'wait' }>): Promise<unknown> => {
    const claim = claimOf(LIMITS, step.do === 'renew' ? 0 : step.tokens, `${step.request}`);
    if (step.do === 'claim') return limiter.claim(claim).then(({ admitted }) => admitted);
    const done = step.do === 'settle' ? limiter.settle(claim, step.tokens) : limiter.renew([claim]);
    return done.then(() => step.do);
  };
  const look = async () => {
    const { requests, tokens, concurrency } = await limiter.peek('key', LIMITS);
    return [requests?.remaining, tokens?.remaining, concurrency?.remaining];
  };
  for (const step of acts) {
    if (step.do === 'wait') {
      await Promise.all(seen);
      await advance('key', step.seconds * 1000);
    } else seen.push(performOne(step));
    seen.push(look());
    if (!together) await Promise.all(seen);
  }
  return await Promise.all(seen);
}

test.each([
  ['each after the other', false],
  ['in one turn, more than fits into one step of Redis', true],
])('whatever is done in whatever order, %s, memory and Redis answer alike', async (_how, together) => {
  const acts = fc.array(act, { minLength: 5, maxLength: together ? 120 : 30 });
  await fc.assert(
    fc.asyncProperty(acts, async (some) => {
      expect(await perform(openRedis(server), some, together)).toEqual(
        await perform(openMemory(), some, false),
      );
    }),
    { numRuns: 40 },
  );
});

test.each([
  ['a server', () => server],
  ['a cluster', () => cluster],
])('what one turn decides about one key is one command to %s', async (_name, connection) => {
  const { limiter } = openRedis(connection());
  const limit = jest.spyOn(connection(), 'limit');
  // Each with limits of its own, as where a key has two secrets.
  const claims = Array.from({ length: 30 }, () => claimOf({ ...LIMITS }));
  const decisions = await Promise.all([
    ...claims.map((claim) => limiter.claim(claim)),
    limiter.claim({ ...claimOf(LIMITS), keyId: 'another' }),
  ]);
  expect(decisions.filter(({ admitted }) => admitted)).toHaveLength(LIMITS.concurrentRequests + 1);
  expect(limit).toHaveBeenCalledTimes(2);
  limit.mockRestore();
});

test('no order of claims, settlements, renewals and waits admits more than the limits allow', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
      const { limiter, advance } = openMemory();
      let now = 0;
      const admittedAt: number[] = [];
      const running = new Map<string, number>();
      for (const [index, step] of acts.entries()) {
        if (step.do === 'wait') {
          await advance('key', step.seconds * 1000);
          now += step.seconds;
          for (const [id, until] of running) if (until <= now) running.delete(id);
        } else if (step.do === 'settle') {
          const id = [...running.keys()][step.request];
          if (id === undefined) continue;
          await limiter.settle(claimOf(LIMITS, 0, id), step.tokens);
          running.delete(id);
        } else if (step.do === 'renew') {
          const id = [...running.keys()][step.request];
          if (id === undefined) continue;
          await limiter.renew([claimOf(LIMITS, 0, id)]);
          running.set(id, now + LEASE_TTL_MS / 1000);
        } else {
          const claim = claimOf(LIMITS, step.tokens, `fresh-${index}`);
          if (!(await limiter.claim(claim)).admitted) continue;
          admittedAt.push(now);
          running.set(claim.id, now + LEASE_TTL_MS / 1000);
        }
        expect(running.size).toBeLessThanOrEqual(LIMITS.concurrentRequests);
      }
      // Between any two admissions there were at most a full bucket and what came back meanwhile.
      for (const [i, from] of admittedAt.entries()) {
        for (const [j, until] of admittedAt.entries()) {
          if (j < i) continue;
          const allowed = LIMITS.requestsPerMinute * (1 + (until - from) / 60);
          expect(j - i + 1).toBeLessThanOrEqual(allowed);
        }
      }
    }),
    { numRuns: 100 },
  );
});

test('the memory of an idle key is given back', async () => {
  const clock = createTestClock();
  const limiter = createMemoryLimiter(clock);
  const limits = { requestsPerMinute: 1, tokensPerMinute: 1, concurrentRequests: 1 };
  for (let key = 0; key < 1000; key++)
    await limiter.claim({ id: 'x', keyId: `key-${key}`, limits, tokens: 1 });
  expect(limiter.size()).toBe(1000);
  await clock.advance(3_600_000);
  for (let round = 0; round < 501; round++) await limiter.peek('busy', limits);
  expect(limiter.size()).toBe(1);
});
