import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startSimulator } from '../../simulator/server.ts';
import { chat, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, startGateway } from '../support/gateway.ts';
import { type Operator, openOperator } from '../support/operator.ts';
import { type PrivatePostgres, startPostgres } from '../support/postgres.ts';
import { type PrivateRedis, startRedis } from '../support/redis.ts';

const ADMIN_KEY = `llmgw_${'0123456789abcdef'.repeat(4)}`;

let postgres: PrivatePostgres;
let redis: PrivateRedis;
let gateway: GatewayProcess;
let operator: Operator;
const opened = new AsyncDisposableStack();

/** The database and Redis are away when the gateway starts, and the database is empty: the first tests are about that. */
beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  opened.defer(() => postgres.close());
  opened.defer(() => redis.close());
  await Promise.all([postgres.stop(), redis.stop()]);
  const ollama = await startSimulator({ parallel: 100 });
  opened.defer(() => ollama.close());
  gateway = await startGateway({
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OLLAMA_URLS: ollama.url,
    GATEWAY_ADMIN_KEY: ADMIN_KEY,
  });
  opened.defer(async () => void (await gateway.stop()));
}, 60_000);
afterAll(async () => {
  redis?.thaw();
  await postgres?.thaw();
  await opened.disposeAsync();
}, 60_000);

interface Readiness {
  readonly status: number;
  readonly database: string;
  readonly redis: string;
}

async function readiness(): Promise<Readiness> {
  const response = await fetch(`${gateway.url}/ready`);
  const { dependencies } = (await response.json()) as {
    dependencies: Record<'database' | 'redis', { state: string }>;
  };
  const { database, redis: shared } = dependencies;
  return { status: response.status, database: database.state, redis: shared.state };
}

function untilReady(database: string, shared: string): Promise<true> {
  return eventually(`database ${database}, redis ${shared}`, async () => {
    const seen = await readiness();
    return seen.database === database && seen.redis === shared;
  });
}

function unknownSecret(): string {
  return `llmgw_${randomUUID().replaceAll('-', '').repeat(2)}`;
}

async function expectUnavailable(secret: string): Promise<void> {
  const response = await chat(gateway, secret);
  expect(response.status).toBe(503);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(await response.json()).toMatchObject({ error: { code: 'storage_unavailable' } });
}

/** Sends requests all at once. @returns their ids, each of them answered. */
async function sendMany(secret: string, count: number): Promise<readonly string[]> {
  const ids: readonly string[] = Array.from({ length: count }, () => randomUUID());
  const statuses = await Promise.all(ids.map((requestId) => statusOf(chat(gateway, secret, { requestId }))));
  expect(statuses).toEqual(ids.map(() => 200));
  return ids;
}

/** Each of the requests has its row, once. */
async function expectRows(keyId: string, ids: readonly string[]): Promise<void> {
  const rows = await eventually(`the rows of ${ids.length} requests`, async () => {
    const all = await operator.rows(keyId).catch(() => []);
    const asked = all.filter((row) => row.request_id !== null && ids.includes(row.request_id));
    return asked.length >= ids.length && asked;
  });
  expect(rows.map((row) => row.request_id).sort()).toEqual([...ids].sort());
}

describe('a gateway that starts while both stores are away', () => {
  test('says so, is ready for keys it may come to know, and refuses nobody’s key as wrong', async () => {
    expect(await readiness()).toEqual({ status: 200, database: 'down', redis: 'down' });
    await expectUnavailable(ADMIN_KEY);
  });

  test('brings the database up to date and makes the admin key when it comes', async () => {
    await postgres.start();
    await untilReady('up', 'down');
    await eventually('the admin key', async () => (await statusOf(chat(gateway, ADMIN_KEY))) === 200);
    operator = await openOperator(postgres.url);
    opened.defer(() => operator.close());
    const [admin] = await operator.database.query<{ id: string }>('select id from api_keys');
    expect((await operator.untilRows(admin?.id ?? '', 1))[0]).toMatchObject({ status: 'ok' });
  });

  test('limits exactly when Redis comes', async () => {
    const { secret } = await operator.createKey({ limits: { requestsPerMinute: 100_000 } });
    const degraded = await chat(gateway, secret);
    await degraded.arrayBuffer();
    expect(degraded.headers.get('x-ratelimit-mode')).toBe('degraded');
    await redis.start();
    await untilReady('up', 'up');
    const exact = await chat(gateway, secret);
    await exact.arrayBuffer();
    expect(exact.headers.get('x-ratelimit-mode')).toBeNull();
  });
});

describe.each<readonly [string, () => Promise<void>, () => Promise<void>]>([
  ['refuses connections', () => postgres.stop(), () => postgres.start()],
  ['is frozen', () => postgres.freeze(), () => postgres.thaw()],
])('while PostgreSQL %s', (_name, begin, end) => {
  test('cached keys go on, unknown ones get 503, and usage waits in Redis for its return', async () => {
    const { key, secret } = await operator.createKey({ limits: { requestsPerMinute: 100_000 } });
    const made = await operator.createKey();
    await expectRows(key.keyId, await sendMany(secret, 1));
    // A row is there a moment before its entry is gone.
    await eventually('an empty stream', async () => (await redis.command('XLEN', 'llmgw:usage')) === 0);
    const logged = gateway.logs().length;
    let during: readonly string[] = [];
    await begin();
    try {
      const unknown = unknownSecret();
      await Promise.all([
        expectUnavailable(unknown),
        // Not cached, and so not told from an unknown one.
        expectUnavailable(made.secret),
        sendMany(secret, 10).then((ids) => {
          during = ids;
        }),
      ]);
      // What noticed the outage has paid for it; from now on nobody asks.
      await untilReady('down', 'up');
      await expectUnavailable(unknown);
      during = [...during, ...(await sendMany(secret, 10))];
      expect(await redis.command('XLEN', 'llmgw:usage')).toBe(during.length);
    } finally {
      await end();
    }
    await untilReady('up', 'up');
    expect(await statusOf(chat(gateway, unknownSecret()))).toBe(401);
    expect(await statusOf(chat(gateway, made.secret))).toBe(200);
    await expectRows(key.keyId, during);
    const states = () =>
      gateway
        .logs()
        .slice(logged)
        .map((line) => line['msg'])
        .filter((message) => message !== 'request');
    await eventually('the line that it is over', () => states().length >= 2);
    expect(states()).toEqual(['the database is down', 'the database is up']);
  });
});

test('while both are away cached keys go on, and usage waits in the gateway for either', async () => {
  const { key, secret } = await operator.createKey({ limits: { requestsPerMinute: 100_000 } });
  await expectRows(key.keyId, await sendMany(secret, 1));
  await Promise.all([postgres.stop(), redis.stop()]);
  let during: readonly string[];
  try {
    during = await sendMany(secret, 10);
    await untilReady('down', 'down');
    during = [...during, ...(await sendMany(secret, 10))];
    await expectUnavailable(unknownSecret());
  } finally {
    await postgres.start();
    await redis.start();
  }
  await untilReady('up', 'up');
  await expectRows(key.keyId, during);
});
