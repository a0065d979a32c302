import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import { chat, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, runKeys, startGateway } from '../support/gateway.ts';
import { type Operator, openOperator } from '../support/operator.ts';
import { createDatabase } from '../support/postgres.ts';
import { startRedis } from '../support/redis.ts';

/** Long before a cached key would be looked up again without a signal, which is after 15 s at the earliest. */
const BY_SIGNAL_MS = 10_000;

let ollama: Simulator;
let replicas: readonly GatewayProcess[];
let operator: Operator;
let environment: Readonly<Record<string, string>>;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  ollama = await startSimulator({ parallel: 100 });
  opened.defer(() => ollama.close());
  const redis = await startRedis();
  opened.defer(() => redis.close());
  const database = await createDatabase();
  opened.defer(database.drop);
  environment = { DATABASE_URL: database.url, REDIS_URL: redis.url };
  replicas = await Promise.all(
    ['a', 'b', 'c'].map(async (name) => {
      const env = { ...environment, OLLAMA_URLS: ollama.url, REPLICAS: '3', REPLICA_ID: name };
      const gateway = await startGateway(env);
      opened.defer(async () => void (await gateway.stop()));
      return gateway;
    }),
  );
  operator = await openOperator(database.url);
  opened.defer(() => operator.close());
}, 60_000);
afterAll(() => opened.disposeAsync());

interface Outcome {
  readonly status: number;
  readonly degraded: boolean;
}

/** Sends `count` requests at once, spread evenly. */
function sendEverywhere(secrets: readonly string[], count: number): Promise<readonly Outcome[]> {
  const send = async (index: number): Promise<Outcome> => {
    const gateway = replicas[index % replicas.length];
    const secret = secrets[index % secrets.length];
    if (gateway === undefined || secret === undefined) throw new Error('there is none');
    const response = await chat(gateway, secret, { signal: AbortSignal.timeout(25_000) });
    await response.arrayBuffer();
    return {
      status: response.status,
      degraded: response.headers.get('x-ratelimit-mode') === 'degraded',
    };
  };
  return Promise.all(Array.from({ length: count }, (_, index) => send(index)));
}

/**
 * Exactly so many passed, and all others were refused. A machine that is busy enough starves Redis for longer than it
 * may be silent; whoever then counts for itself says so, and has its own share.
 */
function expectAdmitted(outcomes: readonly Outcome[], atLeast: number, atMost: number): void {
  expect(outcomes.filter(({ status }) => status !== 200 && status !== 429)).toEqual([]);
  const admitted = outcomes.filter(({ status }) => status === 200);
  expect(admitted.length).toBeGreaterThanOrEqual(atLeast);
  expect(admitted.filter(({ degraded }) => !degraded).length).toBeLessThanOrEqual(atMost);
}

describe('three gateways on one Redis and one PostgreSQL', () => {
  test('admit together exactly as many requests as one key may send', async () => {
    const { key, secret } = await operator.createKey({ limits: { requestsPerMinute: 10 } });
    // A bucket of 10 gives one back every 6 s, and this burst takes longer than that on a machine that is busy enough.
    const begun = Date.now();
    const outcomes = await sendEverywhere([secret], 300);
    const given = Math.floor((Date.now() - begun) / 6000);
    expectAdmitted(outcomes, 10, 10 + given);
    expect(await operator.untilRows(key.keyId, 300)).toHaveLength(300);
  });

  test('run one stream at a time of a key that may have one', async () => {
    const { secret } = await operator.createKey({ limits: { concurrentRequests: 1 } });
    const script = { tokens: 100_000, paceMs: 20 };
    const all = await Promise.all(
      Array.from({ length: 5 }, () => replicas).flatMap((round) =>
        round.map((gateway) => openStream(gateway, secret, { script })),
      ),
    );
    const [running, ...others] = all.filter((stream) => stream.response.status === 200);
    expect(others).toHaveLength(0);
    expect(all.filter((stream) => stream.response.status === 429)).toHaveLength(all.length - 1);
    await running?.untilEvents(3);
    for (const gateway of replicas) expect(await statusOf(chat(gateway, secret))).toBe(429);
    running?.leave();
    for (const gateway of replicas) {
      await eventually('the free slot', async () => (await statusOf(chat(gateway, secret))) === 200, 5000);
    }
  });

  test('all refuse a revoked key, and cut the streams that run under it within a second of them', async () => {
    const { key, secret } = await operator.createKey();
    const script = { tokens: 100_000, paceMs: 20 };
    const streams = await Promise.all(replicas.map((gateway) => openStream(gateway, secret, { script })));
    await Promise.all(streams.map((stream) => stream.untilEvents(3)));
    await runKeys(environment, 'revoke', key.keyId);
    const tokensASecond = 1000 / script.paceMs;
    const before = streams.map((stream) => stream.events());
    for (const [index, stream] of streams.entries()) {
      expect(await stream.ended()).toMatchObject({
        done: false,
        errorCode: 'invalid_api_key',
        broken: false,
      });
      expect(stream.events() - (before[index] ?? 0)).toBeLessThan(tokensASecond);
    }
    for (const gateway of replicas) expect(await statusOf(chat(gateway, secret))).toBe(401);
    const rows = await operator.untilRows(key.keyId, streams.length);
    expect(rows.map((row) => row.error_code)).toEqual(streams.map(() => 'invalid_api_key'));
  });

  test('all accept both secrets of a rotated key while its grace lasts, on one account', async () => {
    const { key, secret } = await operator.createKey({ limits: { requestsPerMinute: 12 } });
    const begun = Date.now();
    for (const gateway of replicas) expect(await statusOf(chat(gateway, secret))).toBe(200);
    const rotated = await runKeys(environment, 'rotate', key.keyId, '--grace', '1h');
    const both = [secret, String(rotated['secret'])];
    const outcomes = await sendEverywhere([...both, ...both.toReversed()], 60);
    // One comes back every 5 s.
    expectAdmitted(outcomes, 9, 9 + Math.floor((Date.now() - begun) / 5000));

    await runKeys(environment, 'rotate', key.keyId);
    for (const gateway of replicas) {
      for (const earlier of both) {
        await eventually(
          'the end of the earlier secrets',
          async () => (await statusOf(chat(gateway, earlier))) === 401,
          BY_SIGNAL_MS,
        );
      }
    }
  });
});
