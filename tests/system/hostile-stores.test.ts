/** What reaches the stores of a whole gateway: hostile inputs 1, 8 and 9, seen from PostgreSQL and Redis. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import pg from 'pg';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, startGateway, TEST_KEY } from '../support/gateway.ts';
import { type PrivatePostgres, startPostgres } from '../support/postgres.ts';
import { type PrivateRedis, startRedis } from '../support/redis.ts';

const CANARY = 'canary7261';
const HOSTILE = `${CANARY}' or '1'='1'; drop table api_keys; --`;

let postgres: PrivatePostgres;
let redis: PrivateRedis;
let gateway: GatewayProcess;
let simulator: Simulator;
let client: pg.Client;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  opened.defer(() => postgres.close());
  opened.defer(() => redis.close());
  await run(`alter system set shared_preload_libraries = 'pg_stat_statements'`);
  await postgres.stop();
  await postgres.start();
  simulator = await startSimulator();
  opened.defer(() => simulator.close());
  gateway = await startGateway({
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OLLAMA_URLS: simulator.url,
    SEED_DEMO_KEYS: 'true',
  });
  opened.defer(async () => void (await gateway.stop()));
  client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  opened.defer(() => client.end());
  await client.query('create extension pg_stat_statements');
});
afterAll(() => opened.disposeAsync());

async function run(sql: string): Promise<void> {
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query(sql);
  await admin.end();
}

function ask(body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TEST_KEY}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

const say = (content: string, model = 'llama3.1:8b') => ({ model, messages: [{ role: 'user', content }] });

test('hostile 1: nothing that a caller sends is part of a statement’s text', async () => {
  const statuses = [
    (await ask(say('Hi'), { authorization: `Bearer ${HOSTILE}` })).status,
    (await ask(say('Hi'), { authorization: `Bearer llmgw_${CANARY.repeat(5)}` })).status,
    (await ask(say('Hi', HOSTILE))).status,
    (await ask(say(HOSTILE), { 'x-client-request-id': `${CANARY}';--` })).status,
    (
      await fetch(`${gateway.url}/v1/models/${encodeURIComponent(HOSTILE)}`, {
        headers: { authorization: `Bearer ${TEST_KEY}` },
      })
    ).status,
  ];
  expect(statuses).toEqual([401, 401, 404, 200, 404]);
  await gateway.stop();

  const { rows: kept } = await client.query('select request_id from usage_records where request_id like $1', [
    `${CANARY}%`,
  ]);
  expect(kept).toEqual([{ request_id: `${CANARY}';--` }]);
  const { rows } = await client.query<{ query: string }>('select query from pg_stat_statements');
  const texts = rows.map(({ query }) => query).join('\n');
  expect(texts).toContain('api_key_secrets');
  expect(texts).toContain('usage_records');
  expect(texts.replaceAll(/select request_id from usage_records.*/g, '')).not.toContain(CANARY);
});

test('hostile 9: Redis holds neither keys nor content', async () => {
  gateway = await startGateway({ DATABASE_URL: postgres.url, REDIS_URL: redis.url, SEED_DEMO_KEYS: 'true' });
  const command = new Redis(redis.url);
  try {
    // Compressed, a canary could hide.
    await command.config('SET', 'rdbcompression', 'no');
    for (const stream of [false, true]) await (await ask({ ...say(CANARY), stream })).text();
    await ask(say(CANARY), { authorization: `Bearer llmgw_${CANARY.repeat(5)}` });
    await command.save();
    const [, directory = ''] = (await command.config('GET', 'dir')) as string[];
    const dump = readFileSync(join(directory, 'dump.rdb'), 'latin1');
    // The limits are there, by the key's id.
    expect(dump).toMatch(/llmgw:\{key_/);
    expect(dump).not.toContain(CANARY);
    expect(dump).not.toContain(TEST_KEY.slice(12));
  } finally {
    command.disconnect();
  }
});

test('hostile 9 and 10: a diagnostic report has no key in it, and no connection but to what is configured', async () => {
  await gateway.stop();
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-report-'));
  const adminKey = `llmgw_${CANARY}${'0'.repeat(40)}`;
  gateway = await startGateway({
    NODE_OPTIONS: `--report-on-signal --report-directory=${directory} --report-filename=report.json`,
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OLLAMA_URLS: simulator.url,
    SEED_DEMO_KEYS: 'true',
    GATEWAY_ADMIN_KEY: adminKey,
  });
  const elsewhere = { api_base: 'http://127.0.0.2:9', base_url: 'http://127.0.0.2:9' };
  expect((await ask({ ...say(CANARY), ...elsewhere })).status).toBe(200);
  const path = join(directory, 'report.json');
  gateway.signal('SIGUSR2');
  const text = await eventually('the whole report', async () => {
    const report = existsSync(path) ? readFileSync(path, 'utf8') : '';
    return report.trimEnd().endsWith('}') && report;
  });
  expect(text).not.toContain(CANARY);
  expect(text).not.toContain(TEST_KEY.slice(12));
  const handles: { type: string; remoteEndpoint?: { ip4?: string; port: number } | null }[] =
    JSON.parse(text).libuv;
  const remote = handles.flatMap(({ type, remoteEndpoint }) =>
    type === 'tcp' && remoteEndpoint ? [remoteEndpoint] : [],
  );
  expect(remote.length).toBeGreaterThan(0);
  expect(remote.filter(({ ip4 }) => ip4 !== '127.0.0.1')).toEqual([]);
  rmSync(directory, { recursive: true });
});
