import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import type { Decision } from '../../src/domain/limit.ts';
import { openRedis, type SharedState } from '../../src/storage/redis.ts';
import { eventually } from '../support/eventually.ts';
import { type ClusterNode, type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import {
  createTestLedger,
  createTestTelemetry,
  type TestLedger,
  type TestTelemetry,
  usageRecord,
} from '../support/shared-state.ts';

/** Slots last as long as nobody gives them back, so what is admitted in all is known however long it takes. */
const LIMITS = { requestsPerMinute: 100_000, tokensPerMinute: 1_000_000, concurrentRequests: 37 };
const PREFIX = 'test';

let cluster: RedisCluster;
let telemetry: TestTelemetry;
let ledger: TestLedger;
let replicas: readonly SharedState[] = [];

function open(): Promise<SharedState> {
  const options = { url: cluster.url, prefix: PREFIX, ledger, telemetry, clock: systemClock };
  return openRedis({ ...options, replicas: 2, leftBehindMs: 200 });
}

beforeAll(async () => {
  cluster = await startRedisCluster();
});
afterAll(() => cluster.close());
beforeEach(async () => {
  telemetry = createTestTelemetry();
  ledger = createTestLedger();
  replicas = await Promise.all([open(), open()]);
});
afterEach(async () => {
  await Promise.all(replicas.map((replica) => replica.close()));
});

/** Claims at both replicas, several at a time, for as long as something else takes. */
async function claimDuring(keyId: string, act: () => Promise<unknown>): Promise<readonly Decision[]> {
  const decisions: Decision[] = [];
  let going = true;
  const claimant = async ({ limiter }: SharedState) => {
    while (going) {
      decisions.push(await limiter.claim({ id: randomUUID(), keyId, limits: LIMITS, tokens: 1 }));
      // A decision that asks nobody else would leave no turn to anything else.
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const claimants = replicas.flatMap((replica) => Array.from({ length: 5 }, () => claimant(replica)));
  try {
    await act();
  } finally {
    going = false;
    await Promise.all(claimants);
  }
  return decisions;
}

function expectExact(decisions: readonly Decision[]): void {
  expect(new Set(decisions.map(({ state }) => state.mode))).toEqual(new Set(['exact']));
  expect(decisions.filter(({ admitted }) => admitted)).toHaveLength(LIMITS.concurrentRequests);
  expect(telemetry.lines).toEqual([]);
}

/** The nodes by turns, so that the slot comes by each of them. */
async function moveAround(slot: number, nodes: readonly ClusterNode[], times: number): Promise<void> {
  for (let turn = 0; turn < times; turn++) {
    const node = nodes[turn % nodes.length];
    if (node) await cluster.moveSlot(slot, node);
  }
}

test('limits stay exact while the slot of a key moves from node to node', async () => {
  const keyId = randomUUID();
  const slot = await cluster.slotOf(keyId);
  expectExact(await claimDuring(keyId, () => moveAround(slot, cluster.nodes, 9)));
});

test('limits stay exact while a slot moves to a node that has only just joined', async () => {
  const keyId = randomUUID();
  const slot = await cluster.slotOf(keyId);
  const joined = await cluster.add();
  expectExact(await claimDuring(keyId, () => cluster.moveSlot(slot, joined)));
});

test('the keys of a slot that stays on its way are limited by share, and no node is taken for away', async () => {
  const [first, second] = cluster.nodes;
  if (!first || !second) throw new Error('a cluster needs nodes');
  const [stuck, free] = [await cluster.keyOn(first), await cluster.keyOn(first)];
  const modesOf = async (keyId: string) => {
    const claims = Array.from({ length: 5 }, () => ({ id: randomUUID(), keyId, limits: LIMITS, tokens: 1 }));
    const decisions = await Promise.all(claims.map((claim) => replicas[0]?.limiter.claim(claim)));
    return new Set(decisions.map((decision) => decision?.state.mode));
  };
  await cluster.moveSlot(await cluster.slotOf(stuck), second, async () => {
    for (let round = 0; round < 3; round++) {
      expect(await modesOf(stuck)).toEqual(new Set(['degraded']));
      expect(await modesOf(free)).toEqual(new Set(['exact']));
    }
  });
  expect(await modesOf(stuck)).toEqual(new Set(['exact']));
  expect(telemetry.lines).toEqual([]);
});

test('a claim that cannot be carried out to its end, as the slot is on its way, counts nothing', async () => {
  const [first, second] = cluster.nodes;
  const limiter = replicas[0]?.limiter;
  if (!first || !second || !limiter) throw new Error('a cluster needs nodes');
  const keyId = await cluster.keyOn(first);
  const limits = { requestsPerMinute: 2, concurrentRequests: 2 };
  const dead = { id: randomUUID(), keyId, limits, tokens: 0 };
  expect(await limiter.claim(dead)).toMatchObject({ state: { mode: 'exact', requests: { remaining: 1 } } });
  // Its lease ends, and no other is left: what the next claim sweeps away it would have to make anew.
  await first.command('ZADD', `${PREFIX}:{${keyId}}:expiry`, 1, dead.id);
  await cluster.moveSlot(await cluster.slotOf(keyId), second, async () => {
    const next = await limiter.claim({ ...dead, id: randomUUID() });
    expect(next.state.mode).toBe('degraded');
  });
  await eventually('an answer of Redis', async () => (await limiter.peek(keyId, limits)).mode === 'exact');
  expect((await limiter.peek(keyId, limits)).requests?.remaining).toBe(1);
});

test('usage goes on while the slot of its stream moves', async () => {
  const slot = await cluster.slotOf(`${PREFIX}:usage`);
  const ids: string[] = [];
  const [replica] = replicas;
  const recordAll = async () => {
    for (let turn = 0; turn < 6; turn++) {
      for (let i = 0; i < 20; i++) {
        const record = usageRecord();
        ids.push(record.id);
        replica?.usage.record(record);
      }
      await moveAround(slot, cluster.nodes.slice(turn % 3), 1);
    }
  };
  await recordAll();
  await ledger.has(ids);
  expect(telemetry.lost()).toBe(0);
  // Each of them went through Redis and was moved on from there.
  await eventually('an empty stream', () => replica?.backlog().every(({ records }) => records === 0));
});

test('when a replica of a node has taken over for it, limits are exact again, without the node', async () => {
  const [master] = cluster.nodes;
  if (!master) throw new Error('a cluster without nodes');
  const spare = await cluster.add(master);
  await eventually('a replica that has caught up', async () =>
    String(await spare.command('INFO', 'replication')).includes('master_link_status:up'),
  );
  const keyId = await cluster.keyOn(master);
  const mode = async () => {
    const claim = { id: randomUUID(), keyId, limits: { requestsPerMinute: 100_000 }, tokens: 0 };
    return (await replicas[0]?.limiter.claim(claim))?.state.mode;
  };
  expect(await mode()).toBe('exact');
  await master.stop();
  expect(await mode()).toBe('degraded');
  await eventually('exact limits', async () => (await mode()) === 'exact');
  expect(String(await spare.command('ROLE'))).toContain('master');
  await eventually('all of it to be up', () => replicas[0]?.state() === 'up');
});
