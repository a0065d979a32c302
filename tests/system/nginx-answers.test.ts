import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { type Nginx, startNginx } from '../support/nginx.ts';
import { openRawSocket, type RawSocket } from '../support/raw-socket.ts';
import { type Answer, type ScriptedReplica, startScriptedReplica } from '../support/scripted-replica.ts';

/** What nginx answers itself, adds to the answers of replicas, refuses, and writes down. */

const SECRET = `llmgw_${'0123456789abcdef'.repeat(4)}`;
const MAX_BODY_BYTES = 20 * 1024 * 1024;
const opened = new AsyncDisposableStack();
let replica: ScriptedReplica;
let nginx: Nginx;
let answer: Answer;

beforeAll(async () => {
  replica = await startScriptedReplica((response, request) => answer(response, request));
  opened.defer(() => replica.close());
  nginx = await startNginx({ upstreams: [replica.address] });
  opened.defer(() => nginx.stop());
});
afterAll(() => opened.disposeAsync());

const ok: Answer = (response) => void response.end('ok');
const die: Answer = (response) => void response.destroy();

/** @returns all of an answer whose body ends like one of JSON or says `ok`, or whatever came until the connection ended. */
async function exchange(bytes: string): Promise<string> {
  const client = await openRawSocket(nginx.port);
  client.send(bytes);
  // After an error nginx goes on reading for some seconds, for what the client may still be sending.
  const received = await Promise.race([
    client.until(/\r\n\r\n.*(\}|ok|words)/s).catch(() => ''),
    client.closed(),
  ]);
  client.destroy();
  return received;
}

function get(path: string, ...headers: readonly string[]): Promise<string> {
  const lines = [`GET ${path} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers];
  return exchange(`${lines.join('\r\n')}\r\n\r\n`);
}

/** Every value that a header has. */
function valuesOf(received: string, name: string): readonly string[] {
  const [head = ''] = received.split('\r\n\r\n', 1);
  return [...head.matchAll(new RegExp(`^${name}: (.*)\r?$`, 'gim'))].map(([, value = '']) => value.trim());
}

describe('headers', () => {
  const ADDED = {
    'x-request-id': expect.stringMatching(/^req_[0-9a-f]{32}$/),
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  };
  const OWN = {
    'x-request-id': 'its-own',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'SAMEORIGIN',
    'referrer-policy': 'origin',
    'cache-control': 'no-cache',
    'content-security-policy': "default-src 'self'",
  };

  test('that keep browsers safe are added to an answer that lacks them', async () => {
    answer = ok;
    const received = await get('/v1/models');
    for (const [name, value] of Object.entries(ADDED)) expect(valuesOf(received, name)).toEqual([value]);
  });

  test('that a replica has sent stay as they are, and alone', async () => {
    answer = (response) => void response.writeHead(200, OWN).end('ok');
    const received = await get('/v1/models');
    for (const [name, value] of Object.entries(OWN)) expect(valuesOf(received, name)).toEqual([value]);
  });

  test('that keep browsers safe are on errors of nginx too, CORS and its version are not', async () => {
    answer = die;
    const received = await get('/v1/models', 'Origin: https://app.example');
    expect(received).toMatch(/^HTTP\/1\.1 502 /);
    for (const [name, value] of Object.entries(ADDED)) expect(valuesOf(received, name)).toEqual([value]);
    expect(received).not.toMatch(/^access-control/im);
    expect(valuesOf(received, 'server')).toEqual(['nginx']);
    expect(valuesOf(received, 'strict-transport-security')).toEqual([]);
  });

  test('of as many bytes as a preflight may be answered with get through', async () => {
    const list = 'x'.repeat(4096);
    answer = (response) => void response.writeHead(204, { 'access-control-allow-headers': list }).end();
    expect(valuesOf(await get('/v1/models'), 'access-control-allow-headers')).toEqual([list]);
  });

  test('for nginx alone do not reach the client', async () => {
    answer = (response) => void response.writeHead(200, { 'x-accel-buffering': 'no' }).end('ok');
    expect(valuesOf(await get('/v1/models'), 'x-accel-buffering')).toEqual([]);
  });
});

describe('errors of nginx', () => {
  test.each([
    [502, 'server_error', 'gateway_unavailable', () => get('/v1/models')],
    [404, 'invalid_request_error', null, () => get('/metrics')],
    [400, 'invalid_request_error', null, () => get('/v1/models', 'Host: again')],
    [400, 'invalid_request_error', null, () => exchange('this is not HTTP\r\n\r\n')],
    [
      405,
      'invalid_request_error',
      'method_not_supported',
      () => exchange('TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'),
    ],
    [414, 'invalid_request_error', null, () => get(`/${'x'.repeat(17_000)}`)],
    [431, 'invalid_request_error', null, () => get('/v1/models', `Authorization: ${'x'.repeat(64 * 1024)}`)],
    [
      413,
      'invalid_request_error',
      'request_too_large',
      () => get('/v1/models', `Content-Length: ${MAX_BODY_BYTES + 1}`),
    ],
    [501, 'server_error', null, () => get('/v1/models', 'Transfer-Encoding: x')],
  ])('of status %d look like those of OpenAI', async (status, type, code, send) => {
    answer = die;
    const received = await send();
    expect(Number(received.slice(9, 12))).toBe(status);
    expect(valuesOf(received, 'content-type')).toEqual(['application/json']);
    expect(valuesOf(received, 'x-request-id')).toHaveLength(1);
    expect(JSON.parse(received.split('\r\n\r\n')[1] ?? '')).toEqual({
      error: { message: expect.stringMatching(/\.$/), type, param: null, code },
    });
  });

  test('are a GraphQL response where GraphQL is', async () => {
    answer = die;
    const received = await get('/graphql?query={x}');
    expect(received).toMatch(/^HTTP\/1\.1 502 /);
    expect(JSON.parse(received.split('\r\n\r\n')[1] ?? '')).toEqual({
      errors: [{ message: expect.any(String), extensions: { code: 'GATEWAY_UNAVAILABLE' } }],
    });
  });

  test('say when to try again where that may help', async () => {
    answer = die;
    expect(valuesOf(await get('/v1/models'), 'retry-after')).toEqual(['1']);
    expect(valuesOf(await get('/metrics'), 'retry-after')).toEqual([]);
  });

  test.each([400, 404, 413, 429, 500, 502, 503, 504])(
    'do not take the place of an answer of %d by a replica',
    async (status) => {
      answer = (response) =>
        void response.writeHead(status, { 'x-request-id': 'its-own' }).end('its own words');
      const received = await get('/v1/models');
      expect(Number(received.slice(9, 12))).toBe(status);
      expect(received).toMatch(/\r\nits own words\r\n/);
      expect(valuesOf(received, 'retry-after')).toEqual([]);
    },
  );
});

describe('a body', () => {
  const post = (body: string) => fetch(`${nginx.url}/v1/embeddings`, { method: 'POST', body });

  test('of 20 MiB gets through whole, and one byte more does not', async () => {
    answer = ok;
    const largest = 'x'.repeat(MAX_BODY_BYTES);
    expect((await post(largest)).status).toBe(200);
    expect(replica.requests.at(-1)?.body).toHaveLength(MAX_BODY_BYTES);
    const count = replica.requests.length;
    const refused = await post(`${largest}x`);
    expect([refused.status, await refused.json()]).toMatchObject([
      413,
      { error: { code: 'request_too_large' } },
    ]);
    expect(replica.requests).toHaveLength(count);
  });

  test('that does not say how long it is, is counted', async () => {
    answer = ok;
    const count = replica.requests.length;
    const client = await openRawSocket(nginx.port);
    client.send('POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n');
    const chunk = `100000\r\n${'x'.repeat(2 ** 20)}\r\n`;
    for (let sent = 0; sent <= 20; sent++) client.send(chunk);
    await client.until(/^HTTP\/1\.1 413 .*request_too_large/s);
    expect(replica.requests).toHaveLength(count);
    client.destroy();
  });

  test('that is too large is refused before it is sent, where its sender waits for leave', async () => {
    const client = await openRawSocket(nginx.port);
    client.send(
      `POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: ${MAX_BODY_BYTES + 1}\r\n\r\n`,
    );
    expect(await client.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 413 /);
    client.destroy();
  });
});

describe('one address', () => {
  const REQUEST = 'GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const statusesOf = (received: string) =>
    received.match(/HTTP\/1\.1 \d{3} /g)?.map((line) => Number(line.slice(9))) ?? [];
  const connectFrom = (address: string, count: number) =>
    Promise.all(Array.from({ length: count }, () => openRawSocket(server.port, address)));

  const streams: Parameters<Answer>[0][] = [];
  let server: Nginx;
  beforeAll(async () => {
    // Three, as a burst of connections that one has not accepted yet is longer than what the kernel queues for it.
    const replicas = await Promise.all(
      [1, 2, 3].map(() => startScriptedReplica((...args) => answer(...args))),
    );
    for (const { close } of replicas) opened.defer(close);
    server = await startNginx({ upstreams: replicas.map(({ address }) => address) });
    opened.defer(() => server.stop());
  });

  test('may have a thousand streams, all begun at once', async () => {
    answer = (response) => {
      streams.push(response);
      response.write('data: 1\n\n');
    };
    const clients = await connectFrom('127.0.0.2', 1000);
    for (const client of clients) client.send(REQUEST);
    const begun = await Promise.all(clients.map((client) => client.until(/data: 1|HTTP\/1\.1 [45]/)));
    expect(new Set(begun.flatMap(statusesOf))).toEqual(new Set([200]));
    expect(streams).toHaveLength(1000);
    for (const client of clients) client.destroy();
    await eventually('the ends of all streams', () => streams.every((stream) => stream.destroyed));
  });

  test('that asks without end is told to wait, while all others are served', async () => {
    answer = ok;
    const flood = (client: RawSocket) => {
      client.send(REQUEST.repeat(999) + REQUEST.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      return client.closed();
    };
    const received: string[] = [];
    // Once is enough for a machine that is not busy: 200 come back each second.
    for (let round = 0; round < 5 && !received.some((text) => text.includes(' 429 ')); round++) {
      received.push(...(await Promise.all((await connectFrom('127.0.0.3', 5)).map(flood))));
    }
    const statuses = received.flatMap(statusesOf);
    expect(new Set(statuses)).toEqual(new Set([200, 429]));
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(2000);
    expect(received.join()).toContain('"type":"requests","param":null,"code":"rate_limit_exceeded"');

    const [other] = await connectFrom('127.0.0.4', 1);
    other?.send(REQUEST);
    await other?.until(/^HTTP\/1\.1 200/);
    other?.destroy();
  });
});

describe('the access log', () => {
  test('has a line of JSON for each request, with all that tells what became of it', async () => {
    answer = ok;
    await get('/v1/models?limit=1', 'x-client-request-id: logged', 'User-Agent: "a\\b" \xff');
    const line = await nginx.untilLogged(({ request_id }) => request_id === 'logged');
    expect(line).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$/),
      request_id: 'logged',
      client: '127.0.0.1',
      host: 'localhost',
      method: 'GET',
      path: '/v1/models',
      protocol: 'HTTP/1.1',
      status: 200,
      completed: true,
      duration_s: expect.any(Number),
      request_bytes: expect.any(Number),
      response_bytes: expect.any(Number),
      upstream: replica.address,
      upstream_status: '200',
      upstream_connect_s: expect.stringMatching(/^\d+\.\d{3}$/),
      upstream_header_s: expect.stringMatching(/^\d+\.\d{3}$/),
      upstream_duration_s: expect.stringMatching(/^\d+\.\d{3}$/),
      user_agent: expect.stringMatching(/^"a\\b" /),
    });
  });

  test.each([
    'GET /\r\n',
    'X\r\n\r\n',
    '\x16\x03\x01\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET /%00%ff%22%5c HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'GET /"\\\xff HTTP/1.1\r\nHost: "\\\r\n\r\n',
    'G"T / HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'GET http://localhost/v1/models\r\n',
  ])('stays JSON when asked %j', async (bytes) => {
    answer = ok;
    const count = nginx.accessLog().length;
    const client = await openRawSocket(nginx.port);
    client.send(bytes);
    await client.closed();
    const line = await eventually('its line', () => nginx.accessLog()[count]);
    expect(line).toMatchObject({ client: '127.0.0.1', status: expect.any(Number) });
  });

  test('says what was asked where nginx answers with an error', async () => {
    answer = die;
    const id = 'x-client-request-id: asked-in-vain';
    await exchange(
      `POST /v1/embeddings?x=y HTTP/1.1\r\nHost: localhost\r\n${id}\r\nContent-Length: 0\r\n\r\n`,
    );
    const line = await nginx.untilLogged(({ request_id }) => request_id === 'asked-in-vain');
    expect(line).toMatchObject({
      method: 'POST',
      path: '/v1/embeddings',
      status: 502,
      upstream_status: '502',
    });
  });

  test('has neither keys nor content, wherever they were put, nor has what nginx says besides', async () => {
    const body = JSON.stringify({ prompt: 'the canary sings' });
    for (const script of [ok, die]) {
      answer = script;
      await exchange(
        `POST /v1/${SECRET}/embeddings?key=${SECRET} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${SECRET}\r\n` +
          `User-Agent: ${SECRET}\r\nReferer: http://x/${SECRET}\r\nCookie: ${SECRET}\r\nx-client-request-id: ${SECRET}\r\n` +
          `Connection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
    }
    await eventually(
      'both lines',
      () => nginx.accessLog().filter(({ path }) => /withheld/.test(String(path))).length === 2,
    );
    const written = JSON.stringify(nginx.accessLog()) + nginx.errorLog();
    expect(written).not.toMatch(/0123456789abcdef|canary|key=/);
  });
});
