import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import type { Claim, Decision } from '../../src/domain/limit.ts';
import { openRedis, type SharedState } from '../../src/storage/redis.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis } from '../support/redis.ts';
import { type ClusterNode, type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import {
  createTestLedger,
  createTestTelemetry,
  type TestLedger,
  type TestTelemetry,
  usageRecord,
} from '../support/shared-state.ts';

const LIMITS = { requestsPerMinute: 40, tokensPerMinute: 400, concurrentRequests: 40 };
const REPLICAS = 4;
const PREFIX = 'test';

let cluster: RedisCluster;
let telemetry: TestTelemetry;
let ledger: TestLedger;
let state: SharedState;
let count = 0;

function claimOf(keyId: string): Claim {
  return { id: `request-${count++}`, keyId, limits: LIMITS, tokens: 1 };
}

function claim(keyId: string): Promise<Decision> {
  return state.limiter.claim(claimOf(keyId));
}

async function modeOf(keyId: string): Promise<string> {
  return (await claim(keyId)).state.mode;
}

function exact(keyId: string): Promise<unknown> {
  return eventually('exact limits', async () => (await modeOf(keyId)) === 'exact');
}

function open(url = cluster.url): Promise<SharedState> {
  return openRedis({
    url,
    prefix: PREFIX,
    replicas: REPLICAS,
    ledger,
    telemetry,
    clock: systemClock,
    leftBehindMs: 200,
  });
}

/** One key of each node, so that every node has its part. */
async function keysEverywhere(): Promise<readonly string[]> {
  return Promise.all(cluster.nodes.map((node) => cluster.keyOn(node)));
}

function nodeAt(index: number): ClusterNode {
  const node = cluster.nodes[index];
  if (!node) throw new Error(`the cluster has no node ${index}`);
  return node;
}

beforeAll(async () => {
  cluster = await startRedisCluster();
});
afterAll(() => cluster.close());
beforeEach(async () => {
  telemetry = createTestTelemetry();
  ledger = createTestLedger();
  state = await open();
});
afterEach(async () => {
  for (const node of cluster.nodes) node.thaw();
  await state.close();
});

test('every node takes its part from the first request on, also of a burst', async () => {
  const keys = await keysEverywhere();
  const decisions = await Promise.all(keys.flatMap((key) => Array.from({ length: 30 }, () => claim(key))));
  expect(new Set(decisions.map((decision) => decision.state.mode))).toEqual(new Set(['exact']));
  for (const key of keys) {
    const { requests } = await state.limiter.peek(key, LIMITS);
    expect(requests?.remaining).toBe(10);
  }
  expect(state.state()).toBe('up');
  expect(telemetry.lines).toEqual([]);
});

test('scripts that the nodes have forgotten are sent again, without a word', async () => {
  const keys = await keysEverywhere();
  for (const key of keys) await claim(key);
  for (const node of cluster.nodes) await node.command('SCRIPT', 'FLUSH');
  for (const key of keys) {
    expect(await claim(key)).toMatchObject({ state: { mode: 'exact', requests: { remaining: 38 } } });
  }
  expect(telemetry.lines).toEqual([]);
});

/** Until the other nodes take it for failed. */
function untilGivenUp(node: ClusterNode): Promise<unknown> {
  return eventually('the verdict of the other nodes', async () => {
    const nodes = String(await nodeAt(1).command('CLUSTER', 'NODES'));
    return nodes.split('\n').some((line) => line.startsWith(node.id) && / master,fail /.test(line));
  });
}

type Step = (node: ClusterNode) => unknown;

describe.each<{ outage: string; begin: Step; end: Step; isSilent: boolean }>([
  { outage: 'is killed', begin: (node) => node.stop(), end: (node) => node.start(), isSilent: true },
  { outage: 'is frozen', begin: (node) => node.freeze(), end: (node) => node.thaw(), isSilent: true },
  {
    outage: 'is out of memory',
    begin: (node) => node.command('CONFIG', 'SET', 'maxmemory', 1),
    end: (node) => node.command('CONFIG', 'SET', 'maxmemory', 0),
    isSilent: false,
  },
])('while one node $outage', ({ begin, end, isSilent }) => {
  test('its keys are limited by share, those of the others exactly, until it is back', async () => {
    const keys = await keysEverywhere();
    const [there, ...elsewhere] = keys;
    if (there === undefined) throw new Error('a cluster without nodes');
    await Promise.all(keys.map(exact));
    const away = telemetry.next('Redis is away in part');
    await begin(nodeAt(0));
    try {
      expect(await claim(there)).toMatchObject({
        admitted: true,
        state: { mode: 'degraded', requests: { limit: LIMITS.requestsPerMinute / REPLICAS } },
      });
      await away;
      expect(state.state()).toBe('down');
      for (const hasFailed of [false, true]) {
        if (hasFailed && isSilent) await untilGivenUp(nodeAt(0));
        for (const key of elsewhere) expect(await modeOf(key)).toBe('exact');
        expect(await modeOf(there)).toBe('degraded');
      }
    } finally {
      await end(nodeAt(0));
    }
    await exact(there);
    expect(await claim(there)).toMatchObject({ state: { requests: { limit: LIMITS.requestsPerMinute } } });
    await eventually('all of it to be up', () => state.state() === 'up');
    expect(telemetry.lines.map((line) => line.message)).toEqual([
      expect.stringMatching(/^Redis is away in part/),
      expect.stringMatching(/^Redis is back/),
    ]);
  });

  test('usage that it would hold goes to the ledger directly, and through it again afterwards', async () => {
    const node = await cluster.ownerOf(`${PREFIX}:usage`);
    await begin(node);
    const meanwhile = Array.from({ length: 20 }, () => usageRecord());
    try {
      for (const record of meanwhile) state.usage.record(record);
      await ledger.has(meanwhile.map((record) => record.id));
    } finally {
      await end(node);
    }
    await eventually('all of it to be up', () => state.state() === 'up');
    ledger.away = true;
    const after = usageRecord();
    state.usage.record(after);
    await state.usage.flush();
    expect(state.backlog().find(({ place }) => place === 'memory')?.records).toBe(0);
    ledger.away = false;
    await ledger.has([after.id]);
    expect(telemetry.lost()).toBe(0);
  });
});

test('signals go on when the node is gone that they were heard from, after saying that some may be missing', async () => {
  const other = await open();
  const heard: string[] = [];
  other.signals.subscribe((signal) => heard.push(signal.type === 'lost' ? 'lost' : signal.keyId));
  const untilHeard = (awaited: string) =>
    eventually(`the signal ${awaited}`, () => {
      state.signals.publish({ type: 'keyChanged', keyId: awaited });
      return heard.includes(awaited);
    });
  try {
    await untilHeard('before');
    await nodeAt(0).stop();
    await eventually('the word that signals were lost', () => heard.includes('lost'));
    await untilHeard('meanwhile');
  } finally {
    await nodeAt(0).start();
    await other.close();
  }
});

test('a gateway that starts while the cluster is away limits its share, and is exact when it comes', async () => {
  await state.close();
  await Promise.all(cluster.nodes.map((node) => node.stop()));
  state = await open();
  expect(state.state()).toBe('down');
  const key = 'a key';
  expect(await modeOf(key)).toBe('degraded');
  await Promise.all(cluster.nodes.map((node) => node.start()));
  await exact(key);
  await eventually('all of it to be up', () => state.state() === 'up');
});

test('one address is enough where it says that it is of a cluster, and refused where it does not', async () => {
  const [address = ''] = cluster.url.split(',');
  const found = await open(`${address}?cluster=true`);
  try {
    const decisions = await Promise.all(
      (await keysEverywhere()).map((keyId) => found.limiter.claim(claimOf(keyId))),
    );
    for (const decision of decisions) expect(decision.state.mode).toBe('exact');
  } finally {
    await found.close();
  }
  await expect(open(address)).rejects.toThrow('a single node of a Redis Cluster');
});

test('a server that is no cluster, named as one, counts as away, and the log says why', async () => {
  const server = await startRedis();
  const reasons: unknown[] = [];
  telemetry = { ...telemetry, log: (_level, _message, fields) => reasons.push(fields?.['reason']) };
  const wrong = await open(`${server.url}?cluster=true`);
  try {
    expect(wrong.state()).toBe('down');
    expect(reasons).toEqual([expect.stringContaining('cluster support disabled')]);
  } finally {
    await wrong.close();
    await server.close();
  }
});
