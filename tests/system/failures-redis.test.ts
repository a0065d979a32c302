import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import { chat, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, runKeys, startGateway } from '../support/gateway.ts';
import { type Operator, openOperator } from '../support/operator.ts';
import { createDatabase } from '../support/postgres.ts';
import { type PrivateRedis, startRedis } from '../support/redis.ts';

const REPLICAS = 3;
/** More than the tests ask for, so that only the mode shows. */
const AMPLE = { requestsPerMinute: 100_000 };

let redis: PrivateRedis;
let gateway: GatewayProcess;
let operator: Operator;
let databaseUrl: string;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  redis = await startRedis();
  opened.defer(() => redis.close());
  const database = await createDatabase();
  opened.defer(database.drop);
  databaseUrl = database.url;
  const ollama: Simulator = await startSimulator({ parallel: 100 });
  opened.defer(() => ollama.close());
  gateway = await startGateway({
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    OLLAMA_URLS: ollama.url,
    REPLICAS: `${REPLICAS}`,
  });
  opened.defer(async () => void (await gateway.stop()));
  operator = await openOperator(database.url);
  opened.defer(() => operator.close());
});
afterAll(async () => {
  redis?.thaw();
  await opened.disposeAsync();
});

async function modeOf(secret: string): Promise<'exact' | 'degraded'> {
  const response = await chat(gateway, secret);
  await response.arrayBuffer();
  expect(response.status).toBe(200);
  return response.headers.get('x-ratelimit-mode') === 'degraded' ? 'degraded' : 'exact';
}

function untilExact(secret: string): Promise<true> {
  return eventually('exact limits', async () => (await modeOf(secret)) === 'exact');
}

/** Lines about something else than one request. */
function generalLines(): readonly Record<string, unknown>[] {
  return gateway.logs().filter((line) => line['request_id'] === undefined && line['msg'] !== 'request');
}

/** What ends each outage, by what begins it. */
const OUTAGES: readonly (readonly [string, () => Promise<unknown>, () => Promise<unknown>])[] = [
  ['refuses connections', () => redis.stop(), () => redis.start()],
  ['is frozen', async () => redis.freeze(), async () => redis.thaw()],
];

describe.each(OUTAGES)('while Redis %s', (_name, begin, end) => {
  beforeEach(async () => {
    const { secret } = await operator.createKey({ limits: AMPLE });
    await untilExact(secret);
  });

  test('requests go on, this replica limits its share, and all of it is exact again afterwards', async () => {
    // A share of 4 comes back at one in 15 s, so that simultaneous requests cannot meet a second helping.
    const limited = await operator.createKey({ limits: { requestsPerMinute: 4 * REPLICAS } });
    const { secret } = await operator.createKey({ limits: AMPLE });
    await begin();
    try {
      expect(await modeOf(secret)).toBe('degraded');
      const answers = await Promise.all(Array.from({ length: 20 }, () => chat(gateway, limited.secret)));
      expect(answers.filter((answer) => answer.status === 200)).toHaveLength(4);
      for (const answer of answers) {
        expect([200, 429]).toContain(answer.status);
        expect(answer.headers.get('x-ratelimit-mode')).toBe('degraded');
        expect(answer.headers.get('x-ratelimit-limit-requests')).toBe('4');
        await answer.arrayBuffer();
      }
    } finally {
      await end();
    }
    await untilExact(secret);
    const whole = await chat(gateway, limited.secret);
    expect(whole.headers.get('x-ratelimit-limit-requests')).toBe(`${4 * REPLICAS}`);
    // At most the request that met the outage is counted in both places; none of the others is.
    expect(Number(whole.headers.get('x-ratelimit-remaining-requests'))).toBeGreaterThanOrEqual(
      4 * REPLICAS - 2,
    );
    await whole.arrayBuffer();
  });

  test('usage goes to the database at once, one row per request', async () => {
    const { key, secret } = await operator.createKey({ limits: AMPLE });
    const ids: readonly string[] = Array.from({ length: 12 }, () => randomUUID());
    await begin();
    try {
      const statuses = await Promise.all(
        ids.map((requestId) => statusOf(chat(gateway, secret, { requestId }))),
      );
      expect(new Set(statuses)).toEqual(new Set([200]));
      const rows = await operator.untilRows(key.keyId, ids.length);
      expect(rows.map((row) => row.request_id).sort()).toEqual([...ids].sort());
    } finally {
      await end();
    }
    // What the request that met the outage left in Redis arrives now, and is known already.
    await untilExact(secret);
    await statusOf(chat(gateway, secret, { requestId: 'afterwards' }));
    await eventually('the row of the request after the outage', async () =>
      (await operator.rows(key.keyId)).some((row) => row.request_id === 'afterwards'),
    );
    const after = (await operator.rows(key.keyId)).map((row) => row.request_id);
    expect(after.filter((id) => id !== null && ids.includes(id))).toHaveLength(ids.length);
  });

  test('a concurrency slot taken before or during the outage is free after it', async () => {
    const limits = { concurrentRequests: 1 };
    const before = await operator.createKey({ limits });
    const during = await operator.createKey({ limits });
    const slow = { tokens: 100_000, paceMs: 20 };
    const stream = await openStream(gateway, before.secret, { script: slow });
    await stream.untilEvents(2);
    await begin();
    try {
      expect(await modeOf(during.secret)).toBe('degraded');
      stream.leave();
      expect(await modeOf(during.secret)).toBe('degraded');
    } finally {
      await end();
    }
    const { secret } = await operator.createKey({ limits: AMPLE });
    await untilExact(secret);
    for (const key of [before, during]) expect(await statusOf(chat(gateway, key.secret))).toBe(200);
  });

  test('a key revoked meanwhile is refused as soon as Redis is back; a new key works at once', async () => {
    const revoked = await operator.createKey({ limits: AMPLE });
    expect(await modeOf(revoked.secret)).toBe('exact');
    await begin();
    try {
      expect(await modeOf(revoked.secret)).toBe('degraded');
      await runKeys({ DATABASE_URL: databaseUrl, REDIS_URL: redis.url }, 'revoke', revoked.key.keyId);
      const made = await operator.createKey({ limits: AMPLE });
      expect(await modeOf(made.secret)).toBe('degraded');
    } finally {
      await end();
    }
    await eventually(
      'the refusal of the revoked key',
      async () => (await statusOf(chat(gateway, revoked.secret))) === 401,
      10_000,
    );
  });

  test('the log says so once, and once that it is over', async () => {
    const { secret } = await operator.createKey({ limits: AMPLE });
    await eventually(
      'the line that the outage before this one is over',
      () => !/^Redis is away/.test(String(generalLines().at(-1)?.['msg'])),
    );
    const before = generalLines().length;
    await begin();
    try {
      for (let round = 0; round < 20; round++) {
        await Promise.all(Array.from({ length: 5 }, () => statusOf(chat(gateway, secret))));
      }
    } finally {
      await end();
    }
    await untilExact(secret);
    await eventually('the line that it is over', () => generalLines().length >= before + 2);
    expect(
      generalLines()
        .slice(before)
        .map((line) => line['msg']),
    ).toEqual([expect.stringMatching(/^Redis is away/), expect.stringMatching(/^Redis is back/)]);
  });
});

test('a Redis that has lost everything is used again: limits, scripts and the usage stream', async () => {
  const { key, secret } = await operator.createKey({ limits: { requestsPerMinute: 5 } });
  expect(await modeOf(secret)).toBe('exact');
  await operator.untilRows(key.keyId, 1);
  await redis.command('FLUSHALL');
  await redis.command('SCRIPT', 'FLUSH');
  const answers = await Promise.all(Array.from({ length: 15 }, () => chat(gateway, secret)));
  for (const answer of answers) expect(answer.headers.get('x-ratelimit-mode')).toBeNull();
  expect(answers.filter((answer) => answer.status === 200)).toHaveLength(5);
  await Promise.all(answers.map((answer) => answer.arrayBuffer()));
  // Refusals have rows too.
  await operator.untilRows(key.keyId, 16);
});
