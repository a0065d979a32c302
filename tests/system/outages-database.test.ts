import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { chat, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type Holdings, readHoldings, untilIdle } from '../support/holdings.ts';
import { INSPECTABLE, type Inspector, inspect } from '../support/inspector.ts';
import {
  AMPLE,
  expectRows,
  expectUnbroken,
  knowEverywhere,
  medianMs,
  modeOf,
  openEverywhere,
  startMixedLoad,
  UNDER_WAY,
  untilMode,
} from '../support/mixed-load.ts';
import { type Stack, startStack } from '../support/stack.ts';
import type { Load } from '../support/traffic.ts';

/** The inspector's connection, and those kept open to the simulator and nginx. */
const SPARE_DESCRIPTORS = 40;

let stack: Stack;
let load: Load | undefined;
let atFirst: Holdings;
let inspectors: readonly Inspector[] = [];

beforeAll(async () => {
  stack = await startStack({ env: INSPECTABLE });
  atFirst = await readHoldings(stack);
}, 60_000);
afterEach(async () => void (await load?.stop()));
afterAll(async () => {
  // A process that is looked into does not end.
  for (const inspector of inspectors) await inspector.close();
  await stack.close();
}, 60_000);

async function untilDatabase(state: 'up' | 'down'): Promise<void> {
  for (const replica of stack.replicas) {
    await eventually(`the database ${state}`, async () => {
      const { dependencies } = await (await fetch(`${replica.url}/ready`)).json();
      return dependencies.database.state === state;
    });
  }
}

function unknownSecret(): string {
  return `llmgw_${randomUUID().replaceAll('-', '').repeat(2)}`;
}

/** Nobody can tell whether the key is right, so nobody is told that it is wrong. */
async function expectNoVerdict(secret: string): Promise<void> {
  const response = await chat(stack, secret);
  expect(response.status).toBe(503);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(await response.json()).toMatchObject({ error: { code: 'storage_unavailable' } });
  expect(await askGraphQL(secret, '{ viewer { __typename } }')).toEqual('STORAGE_UNAVAILABLE');
}

/** @returns the code of the first error. */
async function askGraphQL(secret: string, query: string): Promise<unknown> {
  const response = await fetch(`${stack.url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  });
  const { errors } = await response.json();
  return errors?.[0]?.extensions.code;
}

let hogs: readonly pg.Client[] = [];

/** Takes every connection that the server has, those of the gateways first of all. */
async function takeAllConnections(): Promise<void> {
  const taken: pg.Client[] = [];
  hogs = taken;
  const take = async () => {
    const client = new pg.Client({ connectionString: stack.postgres.url });
    client.on('error', () => undefined);
    await client.connect();
    taken.push(client);
    return client;
  };
  const first = await take();
  await eventually('a server without a free connection', async () => {
    const { rowCount } = await first.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'llm-gateway'",
    );
    const more = await Promise.allSettled(Array.from({ length: 20 }, take));
    return rowCount === 0 && more.every(({ status }) => status === 'rejected');
  });
}

async function giveThemBack(): Promise<void> {
  await Promise.all(hogs.map((client) => client.end()));
}

interface Outage {
  readonly name: string;
  readonly begin: () => Promise<unknown>;
  readonly end: () => Promise<unknown>;
}

const OUTAGES: readonly Outage[] = [
  { name: 'refuses connections', begin: () => stack.postgres.stop(), end: () => stack.postgres.start() },
  { name: 'is frozen', begin: () => stack.postgres.freeze(), end: () => stack.postgres.thaw() },
  { name: 'has no free connection', begin: takeAllConnections, end: giveThemBack },
];

describe.each(OUTAGES)('under load, while PostgreSQL $name', (outage) => {
  test('known keys go on, no other is called wrong, and usage waits for its return', async () => {
    const { key, secret } = await stack.createKey({ limits: AMPLE });
    const { secret: other } = await stack.createKey({ limits: AMPLE });
    const { secret: unused } = await stack.createKey();
    load = startMixedLoad(stack, secret);
    const streams = await openEverywhere(stack, other);
    // Each of them knows the key from now on.
    await knowEverywhere(stack, secret);
    await load.untilCompleted(UNDER_WAY);
    const usualMs = await medianMs(() => modeOf(stack, other));

    await outage.begin();
    try {
      await load.untilCompleted(UNDER_WAY);
      await expectNoVerdict(unused);
      await untilDatabase('down');
      expect(await medianMs(() => modeOf(stack, other))).toBeLessThan(8 * usualMs);
      // Nobody waits for it any more, neither known keys nor others: a connection would be waited for longer than that.
      expect(await medianMs(() => expectNoVerdict(unknownSecret()))).toBeLessThan(8 * usualMs);
    } finally {
      await outage.end();
    }
    await untilDatabase('up');
    expect(await statusOf(chat(stack, unknownSecret()))).toBe(401);
    expect(await statusOf(chat(stack, unused))).toBe(200);
    await load.untilCompleted(UNDER_WAY);

    const { completed, failed } = await load.stop();
    expect(failed).toEqual([]);
    await expectUnbroken(streams);
    await untilIdle(stack);
    await expectRows(stack, key.keyId, completed, stack.replicas.length);
  }, 120_000);
});

test('a PostgreSQL that is restarted under load fails no request and loses no usage', async () => {
  const { key, secret } = await stack.createKey({ limits: AMPLE });
  await knowEverywhere(stack, secret);
  load = startMixedLoad(stack, secret);
  await load.untilCompleted(2 * UNDER_WAY);
  await stack.postgres.stop();
  await stack.postgres.start();
  await load.untilCompleted(2 * UNDER_WAY);
  const { completed, failed } = await load.stop();
  expect(failed).toEqual([]);
  await untilIdle(stack);
  await expectRows(stack, key.keyId, completed, stack.replicas.length);
}, 120_000);

describe('under load, while both stores are away', () => {
  test('known keys go on under the limits of each replica, what is new waits, and usage is kept', async () => {
    const { key, secret } = await stack.createKey({ limits: AMPLE });
    await knowEverywhere(stack, secret);
    const { secret: other } = await stack.createKey({ limits: AMPLE });
    for (const known of [other, stack.adminKey]) await knowEverywhere(stack, known);
    load = startMixedLoad(stack, secret);
    await load.untilCompleted(UNDER_WAY);
    await Promise.all([stack.postgres.stop(), stack.redis.stop()]);
    try {
      await load.untilCompleted(UNDER_WAY);
      await Promise.all([untilDatabase('down'), untilMode(stack, 'degraded', other)]);
      await expectNoVerdict(unknownSecret());
      expect(await askGraphQL(stack.adminKey, '{ apiKeys(first: 1) { nodes { id } } }')).toBe(
        'STORAGE_UNAVAILABLE',
      );
      await load.untilCompleted(UNDER_WAY);
    } finally {
      await Promise.all([stack.postgres.start(), stack.redis.start()]);
    }
    await Promise.all([untilDatabase('up'), untilMode(stack, 'exact', other)]);
    const { completed, failed } = await load.stop();
    expect(failed).toEqual([]);
    await untilIdle(stack);
    await expectRows(stack, key.keyId, completed, stack.replicas.length);
  }, 120_000);
});

test('outages, however many, leave no memory, connection, file or lease behind', async () => {
  inspectors = await Promise.all(stack.replicas.map(inspect));
  const { secret } = await stack.createKey({ limits: AMPLE });
  await knowEverywhere(stack, secret);
  load = startMixedLoad(stack, secret);
  const outages = async (count: number) => {
    for (let round = 0; round < count; round++) {
      await Promise.all([stack.postgres.freeze(), stack.redis.stop()]);
      await Promise.all([untilDatabase('down'), untilMode(stack, 'degraded', secret)]);
      await Promise.all([stack.postgres.thaw(), stack.redis.start()]);
      await Promise.all([untilDatabase('up'), untilMode(stack, 'exact', secret)]);
    }
  };
  const liveBytes = () => Promise.all(inspectors.map((inspector) => inspector.liveBytes()));

  await outages(1);
  const before = await liveBytes();
  await outages(4);
  const after = await liveBytes();
  const { failed } = await load.stop();
  expect(failed).toEqual([]);
  const { postgresConnections, descriptors, lost } = await untilIdle(stack);
  expect(lost).toBe(0);
  await eventually(
    'as many connections to Redis as before',
    async () => (await readHoldings(stack)).redisConnections <= atFirst.redisConnections,
  );
  // Pools grow with what there is to do, up to their bound.
  const [most, operators] = [11, 11];
  expect(postgresConnections).toBeLessThanOrEqual(stack.replicas.length * most + operators);
  for (const [index, count] of descriptors.entries()) {
    expect(count).toBeLessThanOrEqual((atFirst.descriptors[index] ?? 0) + most + SPARE_DESCRIPTORS);
  }
  for (const [index, bytes] of after.entries()) expect(bytes).toBeLessThan(1.1 * (before[index] ?? 0));
}, 120_000);
