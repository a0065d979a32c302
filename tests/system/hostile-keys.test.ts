/** Attacks on authentication and on what a key may reach, numbered as one list through all `hostile-` files. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { errorBody } from '../../src/rest/openai/response-schema.ts';
import { openSignals } from '../../src/storage/signals.ts';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { TEST_KEY } from '../support/gateway.ts';
import { sharedRedisUrl } from '../support/redis.ts';

const ONE_MODEL_KEY = 'llmgw_onemodel123456789abcdef0123456789abcdef0123456789abcdef0123456789';
const CHAT = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'Say hello.' }] };

let server: Deployment;
beforeAll(async () => {
  server = await startDeployment({ env: { LOG_LEVEL: 'debug', REDIS_URL: sharedRedisUrl() } });
});
afterAll(() => server.close());

/** Every path of the documented surface, with the method it takes, and whether it is open. */
async function operations(): Promise<{ path: string; method: string; isOpen: boolean }[]> {
  const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, { security?: readonly unknown[] }>>;
  };
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { security }]) => ({
      path: path.replace('{id}', 'llama3.1:8b'),
      method: method.toUpperCase(),
      isOpen: security?.length === 0,
    })),
  );
}

/** Sends a request as bytes, and nothing after it. @returns status and whole answer. */
async function raw(lines: readonly string[], body = ''): Promise<{ status: number; text: string }> {
  const socket = await server.connect();
  socket.send([...lines, 'Connection: close', '', body].join('\r\n'));
  const answer = await socket.closed();
  return { status: Number(answer.slice(9, 12)), text: answer };
}

describe('hostile 1: rubbish in place of a key', () => {
  const rubbish: [string, string[]][] = [
    ['SQL', ["Authorization: Bearer ' OR '1'='1"]],
    ['SQL in a key', ["Authorization: Bearer llmgw_x'; drop table api_keys; --"]],
    ['a percent sign, which LIKE would take', ['Authorization: Bearer llmgw_%25%25%25%25%25%25%25%25%25']],
    ['bytes that are no UTF-8', ['Authorization: Bearer llmgw_\xff\xfe\xc0\x80aaaaaaaaaaaaaaaa']],
    ['two keys', [`Authorization: Bearer ${TEST_KEY}`, `Authorization: Bearer ${TEST_KEY}`]],
    ['a list of keys', [`Authorization: Bearer ${TEST_KEY}, Bearer ${TEST_KEY}`]],
    ['another scheme', [`Authorization: Basic ${btoa(`user:${TEST_KEY}`)}`]],
    ['no scheme', [`Authorization: ${TEST_KEY}`]],
    ['nothing', ['Authorization:']],
    ['12 KB', [`Authorization: Bearer llmgw_${'a'.repeat(12_000)}`]],
  ];

  test.each(rubbish)(
    '%s is 401 on every route that needs a key, and on those that do not exist',
    async (_name, headers) => {
      const closed = (await operations()).filter(({ isOpen }) => !isOpen);
      expect(closed.length).toBeGreaterThanOrEqual(5);
      for (const { method, path } of [...closed, { method: 'PATCH', path: '/v1/none' }]) {
        const { status, text: answer } = await raw([
          `${method} ${path} HTTP/1.1`,
          'Host: a',
          'Content-Type: application/json',
          'Content-Length: 0',
          ...headers,
        ]);
        expect([path, status]).toEqual([path, 401]);
        expect(answer).not.toMatch(/syntax|relation|select|postgres|llmgw_x/i);
      }
    },
  );

  test('NUL and 64 KB never get as far as a route', async () => {
    const request = ['GET /v1/models HTTP/1.1', 'Host: a'];
    expect((await raw([...request, 'Authorization: Bearer llmgw_\0aaaaaaaaaaaaaaaaaaa'])).status).toBe(400);
    expect((await raw([...request, `Authorization: Bearer ${'a'.repeat(65_536)}`])).status).toBe(431);
  });

  test('and leaves the keys as they were', async () => {
    const [row] = await server.database.query<{ n: string }>('select count(*) as n from api_keys');
    expect(Number(row?.n)).toBeGreaterThanOrEqual(5);
    expect((await server.fetch('/v1/models')).status).toBe(200);
  });
});

describe('hostile 2: a key anywhere but in Authorization', () => {
  test.each<[string, Record<string, string>]>([
    ['', { 'x-api-key': TEST_KEY }],
    ['', { 'api-key': TEST_KEY }],
    ['', { 'proxy-authorization': `Bearer ${TEST_KEY}` }],
    ['', { 'x-authorization': `Bearer ${TEST_KEY}` }],
    ['', { cookie: `authorization=Bearer ${TEST_KEY}` }],
    [`?api_key=${TEST_KEY}&key=${TEST_KEY}&access_token=${TEST_KEY}`, {}],
  ])('%s %j is no key', async (query, headers) => {
    expect((await fetch(`${server.url}/v1/models${query}`, { headers })).status).toBe(401);
  });

  test('nor does it replace the one in Authorization, whose restrictions hold', async () => {
    const headers = { authorization: `Bearer ${ONE_MODEL_KEY}`, 'x-api-key': TEST_KEY };
    const body = { ...CHAT, model: 'qwen2.5:7b' };
    expect((await server.post('/v1/chat/completions', body, { headers })).status).toBe(403);
  });
});

describe('hostile 3: a path that is one thing to the guard and another to the router', () => {
  test.each([
    '//health',
    '/v1/../health',
    '/health/../v1/models',
    '/health%2f..%2fv1/models',
    '/health;x/v1/models',
    '/%2e/health',
    '/v1/models#/health',
    '/v1/models?/health',
    'http://a/v1/models',
    'http://a/v1/models#/health',
    'http://a@b/v1/models',
    '/health\\..\\v1\\models',
  ])('GET %s opens nothing without a key', async (target) => {
    const { status } = await raw([`GET ${target} HTTP/1.1`, 'Host: a']);
    expect([400, 401]).toContain(status);
  });

  test.each([
    'Host: a/health#@b',
    'X-Forwarded-Host: localhost/health',
    'X-Original-URL: /health',
    'X-Rewrite-URL: /health',
    'X-Forwarded-Prefix: /health',
    'X-HTTP-Method-Override: GET',
  ])('%s changes neither path nor method', async (header) => {
    const host = header.startsWith('Host') ? [] : ['Host: a'];
    const { status } = await raw(['GET /v1/models HTTP/1.1', ...host, header]);
    expect(status).toBe(401);
    const authorized = [
      `Authorization: Bearer ${TEST_KEY}`,
      'Content-Length: 2',
      'Content-Type: application/json',
    ];
    const post = await raw(['POST /v1/models HTTP/1.1', ...host, header, ...authorized], '{}');
    expect(post.status).toBe(405);
  });
});

test('hostile 4: every documented path needs a key, except the listed ones, whatever the method', async () => {
  for (const { path, isOpen } of await operations()) {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      const response = await fetch(server.url + path, { method });
      expect([path, method, response.status === 401]).toEqual([path, method, !isOpen]);
      await response.text();
    }
  }
});

test('hostile 5: what a key may not see looks the same as what is not there', async () => {
  const headers = { authorization: `Bearer ${ONE_MODEL_KEY}` };
  const answers = [];
  for (const id of ['qwen2.5:7b', 'nowhere:7b']) {
    const found = await server.fetch(`/v1/models/${id}`, { headers });
    const asked = await server.post('/v1/chat/completions', { ...CHAT, model: id }, { headers });
    const bodies = `${await found.text()} ${await asked.text()}`;
    answers.push([found.status, asked.status, bodies.replaceAll(id, 'ID')]);
  }
  expect(answers[0]).toEqual(answers[1]);
  const list = await (await server.fetch('/v1/models', { headers })).json();
  expect(list.data.map((model: { id: string }) => model.id)).toEqual(['llama3.1:8b']);
});

test('hostile 6: a scope opens what it names and nothing else', async () => {
  const requests = {
    chat: () => ['/v1/chat/completions', CHAT] as const,
    embeddings: () => ['/v1/embeddings', { model: 'nomic-embed-text', input: 'x' }] as const,
    models: () => ['/v1/models', undefined] as const,
  };
  for (const scope of ['chat', 'embeddings', 'models', 'keys:write', 'usage:read']) {
    const { secret } = await server.createKey({ scopes: [scope] });
    const headers = { authorization: `Bearer ${secret}` };
    for (const [name, request] of Object.entries(requests)) {
      const [path, body] = request();
      const answer = body
        ? await server.post(path, body, { headers })
        : await server.fetch(path, { headers });
      expect([scope, name, answer.status]).toEqual([scope, name, scope === name ? 200 : 403]);
      await answer.text();
    }
  }
});

test('hostile 7: a revoked key is refused at once, also in the middle of a stream', async () => {
  const { key, secret } = await server.createKey();
  const headers = { authorization: `Bearer ${secret}`, 'x-client-request-id': 'revoked-midway' };
  server.simulator.script({ tokens: 5, paceMs: 10, neverEnding: true });
  const streaming = await server.post('/v1/chat/completions', { ...CHAT, stream: true }, { headers });
  expect(streaming.status).toBe(200);

  await server.keys.revoke(key.keyId);
  // As the command line does, which is another process: the database has the change, and Redis carries the news.
  const signals = openSignals({ url: sharedRedisUrl(), listening: false });
  signals.publish({ type: 'keyChanged', keyId: key.keyId });
  await signals.close();

  const said = await streaming.text();
  expect(said).toMatch(/data: \{"error":\{"message":"[^"]+","type":"invalid_request_error".*\n\n$/);
  expect(said).not.toContain('[DONE]');
  await server.simulator.until(({ inFlight }) => inFlight === 0);
  expect(await server.row('revoked-midway')).toMatchObject({
    status: 'error',
    error_code: 'invalid_api_key',
  });
  expect((await server.fetch('/v1/models', { headers })).status).toBe(401);
});

test('hostile 8: a secret that can be guessed is refused at start, without being shown', async () => {
  const env = { PATH: process.env['PATH'] ?? '', GATEWAY_ADMIN_KEY: 'llmgw_canary-password' };
  const cwd = join(import.meta.dirname, '../..');
  const child = spawn(process.execPath, ['src/main.ts'], { cwd, env });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (child.exitCode === null) await once(child, 'exit');
  expect(child.exitCode).toBe(1);
  expect(errors).toContain('GATEWAY_ADMIN_KEY');
  expect(output + errors).not.toContain('canary');
});

describe('hostile 9: keys and content at rest', () => {
  test('neither is in the log at its most talkative, in the metrics, in error bodies or in the database', async () => {
    const { secret } = await server.createKey();
    const authorization = `Bearer ${secret}`;
    const canary = 'canary-prompt-7261';
    const ask = (over: object) =>
      server.post(
        '/v1/chat/completions',
        { ...CHAT, messages: [{ role: 'user', content: canary }], ...over },
        { headers: { authorization } },
      );
    const answers: string[] = [];
    for (const over of [
      {},
      { stream: true },
      { model: 'canary-model' },
      { tools: canary },
      { [canary]: 1 },
    ]) {
      answers.push(await (await ask(over)).text());
    }
    for (const script of [
      { errorStatus: 500, errorText: `canary-upstream: ${canary}` },
      { errorAfter: 1, errorText: 'canary-upstream' },
      { garbage: '{"canary-upstream\n' },
      { rawStatus: 500, rawBody: 'canary-upstream' },
      { resetAt: 1 },
    ]) {
      server.simulator.script(script);
      answers.push(await (await ask({ stream: true })).text());
    }
    for (const wrong of [`Bearer ${secret}x`, `${secret}`, 'Bearer llmgw_canarykeycanarykey']) {
      answers.push(await (await server.fetch('/v1/models', { headers: { authorization: wrong } })).text());
    }
    answers.push(await (await server.fetch('/v1/canary-path?key=canary-query')).text());
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    await server.rows();

    for (const answer of answers) expect(answer).not.toMatch(/canary-upstream/);
    for (const answer of answers) expect(answer).not.toContain(secret.slice(12));
    // Not the whole output: the banner shows the demo key, which everybody knows.
    const log = server.gateway.logs();
    expect(log.length).toBeGreaterThan(answers.length);
    for (const place of [JSON.stringify(log), metrics, await dump()]) {
      expect(place).not.toContain(secret.slice(12));
      expect(place).not.toContain(TEST_KEY);
      expect(place).not.toMatch(/canary-(?:prompt|upstream|query)|canarykey/);
    }
  });

  async function dump(): Promise<string> {
    const tables = ['api_keys', 'api_key_secrets', 'usage_records'];
    const rows = await Promise.all(
      tables.map((table) => server.database.query<{ row: string }>(`select t::text as row from ${table} t`)),
    );
    return rows
      .flat()
      .map(({ row }) => row)
      .join('\n');
  }
});

test('and all that while everybody else is served', async () => {
  const answer = await server.post('/v1/chat/completions', CHAT);
  expect(answer.status).toBe(200);
  await answer.text();
  const failed = await server.fetch('/v1/none');
  errorBody.parse(await failed.json());
});
