import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import { chat, loadModel, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, startGateway } from '../support/gateway.ts';
import { type Operator, openOperator } from '../support/operator.ts';
import { createDatabase } from '../support/postgres.ts';
import { startRedis } from '../support/redis.ts';

let ollamas: readonly [Simulator, Simulator];
let gateway: GatewayProcess;
let operator: Operator;
let stores: Readonly<Record<'DATABASE_URL' | 'REDIS_URL', string>>;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  const redis = await startRedis();
  opened.defer(() => redis.close());
  const database = await createDatabase();
  opened.defer(database.drop);
  ollamas = await Promise.all([startSimulator({ parallel: 20 }), startSimulator({ parallel: 20 })]);
  for (const ollama of ollamas) opened.defer(() => ollama.close());
  stores = { DATABASE_URL: database.url, REDIS_URL: redis.url };
  gateway = await startGateway({ ...stores, OLLAMA_URLS: ollamas.map((ollama) => ollama.url).join(',') });
  opened.defer(async () => void (await gateway.stop()));
  operator = await openOperator(database.url);
  opened.defer(() => operator.close());
});
afterAll(() => opened.disposeAsync());

afterEach(async () => {
  await Promise.all(ollamas.map((ollama) => ollama.restart()));
  for (const label of ['ollama-1', 'ollama-2']) await untilSeen(label, true);
});

/** As the gateway's metrics have it. */
function untilSeen(label: string, up: boolean): Promise<true> {
  const line = new RegExp(`^llm_gateway_backend_up\\{.*backend="${label}".*\\} ${up ? 1 : 0}$`, 'm');
  return eventually(`${label} ${up ? 'up' : 'down'}`, async () => {
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    return line.test(metrics);
  });
}

const readyStatus = () => statusOf(fetch(`${gateway.url}/ready`));

const ENDLESS = { tokens: 100_000, paceMs: 20 };

describe('when Ollama servers go away', () => {
  test('one of two: nobody who asks notices, nor does anybody once it is back', async () => {
    const { secret } = await operator.createKey();
    await ollamas[0].stop();
    const statuses = await Promise.all(Array.from({ length: 10 }, () => statusOf(chat(gateway, secret))));
    expect(new Set(statuses)).toEqual(new Set([200]));
    await untilSeen('ollama-1', false);
    expect(await readyStatus()).toBe(200);

    const stream = await openStream(gateway, secret, { script: { tokens: ['one', ' two'] } });
    expect(await stream.ended()).toEqual({
      text: 'one two',
      done: true,
      errorCode: undefined,
      broken: false,
    });
  });

  test('one that fails each request before its first line: the other answers', async () => {
    const { secret } = await operator.createKey();
    ollamas[0].setDefault({ resetAt: 'headers' });
    try {
      const statuses = await Promise.all(Array.from({ length: 10 }, () => statusOf(chat(gateway, secret))));
      expect(new Set(statuses)).toEqual(new Set([200]));
    } finally {
      ollamas[0].setDefault({});
    }
  });

  test('all of them: 503 that says when to try again, not ready, and back by itself', async () => {
    const { secret } = await operator.createKey();
    await Promise.all(ollamas.map((ollama) => ollama.stop()));
    for (const stream of [false, true]) {
      const refused = await chat(gateway, secret, { stream });
      expect(refused.status).toBe(503);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      expect(await refused.json()).toMatchObject({ error: { code: 'upstream_unavailable' } });
    }
    await eventually('not being ready', async () => (await readyStatus()) === 503);
    await ollamas[1].restart();
    await eventually('being ready', async () => (await readyStatus()) === 200);
    expect(await statusOf(chat(gateway, secret))).toBe(200);
  });

  test('in the middle of an answer: an error frame and no [DONE]; what was produced is paid for', async () => {
    const limits = { tokensPerMinute: 100_000, concurrentRequests: 1 };
    const { key, secret } = await operator.createKey({ limits });
    const stream = await openStream(gateway, secret, { requestId: 'cut-short', script: ENDLESS });
    await stream.untilEvents(6);
    await Promise.all(ollamas.map((ollama) => ollama.stop()));
    const end = await stream.ended();
    expect(end).toMatchObject({ done: false, errorCode: 'upstream_incomplete', broken: false });
    expect(end.text).not.toBe('');

    const [row] = await operator.untilRows(key.keyId, 1);
    expect(row).toMatchObject({
      request_id: 'cut-short',
      status: 'error',
      error_code: 'upstream_incomplete',
      estimated: true,
    });
    const produced = Number(row?.completion_tokens);
    expect(produced).toBeGreaterThanOrEqual(4);
    expect(produced).toBeLessThan(1000);

    await ollamas[0].restart();
    await eventually('being ready', async () => (await readyStatus()) === 200);
    const next = await chat(gateway, secret);
    expect(next.status).toBe(200);
    // The estimate that was held, 1,024 tokens of answer, went back; what this request holds itself is still out.
    const out = limits.tokensPerMinute - Number(next.headers.get('x-ratelimit-remaining-tokens'));
    expect(out).toBeLessThan(2 * 1024);
    await next.arrayBuffer();
  });
});

test('an Ollama whose every answer breaks off soon gets no more requests, though it is always idle', async () => {
  const [sick, sound] = await Promise.all([
    startSimulator({ script: { errorAfter: 2, errorText: 'boom' } }),
    startSimulator(),
  ]);
  await using stack = new AsyncDisposableStack();
  for (const simulator of [sick, sound]) {
    stack.defer(() => simulator.close());
    // Both have the model in memory when the gateway first looks at them.
    await loadModel(simulator);
  }
  const { secret } = await operator.createKey();
  const own = await startGateway({ ...stores, OLLAMA_URLS: `${sick.url},${sound.url}` });
  stack.defer(async () => void (await own.stop()));
  let failed = 0;
  for (let n = 0; n < 40; n++) {
    const stream = await openStream(own, secret);
    if (!(await stream.ended()).done) failed += 1;
  }
  // The three that it takes to see it, and a trial where forty requests take longer than the pause.
  expect(failed).toBeGreaterThanOrEqual(3);
  expect(failed).toBeLessThan(8);
}, 60_000);

describe('a client that leaves', () => {
  test('in the middle of an answer frees the server and its own slot at once, and pays for what was made', async () => {
    const { key, secret } = await operator.createKey({ limits: { concurrentRequests: 1 } });
    const stream = await openStream(gateway, secret, { script: ENDLESS });
    await stream.untilEvents(6);
    expect(await statusOf(chat(gateway, secret))).toBe(429);
    stream.leave();
    await Promise.any(
      ollamas.map((ollama) => ollama.until((stats) => stats.aborted > 0 && stats.inFlight === 0)),
    );
    await eventually('the free slot', async () => (await statusOf(chat(gateway, secret))) === 200, 5000);

    const rows = await eventually('the row', async () => {
      const found = await operator.rows(key.keyId);
      return found.some((row) => row.status === 'cancelled') && found;
    });
    const cancelled = rows.filter((row) => row.status === 'cancelled');
    expect(cancelled).toHaveLength(1);
    expect(cancelled[0]).toMatchObject({ error_code: 'client_closed', estimated: true });
    expect(Number(cancelled[0]?.completion_tokens)).toBeGreaterThanOrEqual(4);
  });

  test('before the first token frees the server as well, and pays nothing', async () => {
    const { key, secret } = await operator.createKey({ limits: { concurrentRequests: 1 } });
    const leaving = new AbortController();
    const started = ollamas.map((ollama) => ollama.stats().aborted);
    const answer = chat(gateway, secret, { script: { hangBeforeHeaders: true }, signal: leaving.signal });
    await Promise.any(ollamas.map((ollama) => ollama.until((stats) => stats.inFlight === 1)));
    leaving.abort();
    await expect(answer).rejects.toThrow();
    await Promise.any(
      ollamas.map((ollama, index) =>
        ollama.until((stats) => stats.aborted > (started[index] ?? 0) && stats.inFlight === 0),
      ),
    );
    expect((await operator.untilRows(key.keyId, 1))[0]).toMatchObject({
      status: 'cancelled',
      completion_tokens: null,
    });
    expect(await statusOf(chat(gateway, secret))).toBe(200);
  });
});
