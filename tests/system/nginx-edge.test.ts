import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type Nginx, startNginx } from '../support/nginx.ts';
import { openRawSocket } from '../support/raw-socket.ts';
import { type ScriptedReplica, startScriptedReplica } from '../support/scripted-replica.ts';

/** What nginx lets in, and what of a request gets as far as a replica, which answers everything with `ok`. */

const SECRET = `llmgw_${'0123456789abcdef'.repeat(4)}`;
/** Longer than nginx has room for by default. */
const LONG_NAME = `${'name-'.repeat(12)}of-a-gateway.example.com`;
const opened = new AsyncDisposableStack();
let replica: ScriptedReplica;
let nginx: Nginx;
/** How many requests the replica had before the test. */
let before: number;

beforeAll(async () => {
  replica = await startScriptedReplica((response) => void response.end('ok'));
  opened.defer(() => replica.close());
  nginx = await startNginx({
    upstreams: [replica.address],
    serverNames: `llm.example.org *.example.net ${LONG_NAME}`,
  });
  opened.defer(() => nginx.stop());
});
afterAll(() => opened.disposeAsync());
beforeEach(() => {
  before = replica.requests.length;
});

const arrived = () => replica.requests.slice(before);

/** @returns everything that comes back for these bytes until nginx closes the connection. */
async function exchange(bytes: string): Promise<string> {
  const client = await openRawSocket(nginx.port);
  client.send(bytes);
  return client.closed();
}

function get(path: string, headers: readonly string[] = []): Promise<string> {
  return exchange(
    [`GET ${path} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers, '', ''].join('\r\n'),
  );
}

const statusesOf = (answers: string) =>
  [...answers.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));

describe('hosts', () => {
  test.each([
    'localhost',
    'LOCALHOST:3000',
    '127.0.0.1',
    '127.0.0.1:3000',
    '[::1]:3000',
    'nginx',
    'llm.example.org',
    'a.example.net',
    LONG_NAME,
  ])('%s is served', async (host) => {
    expect(
      statusesOf(await exchange(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)),
    ).toEqual([200]);
  });

  test.each(['evil.example', 'localhost.evil.example', '10.0.0.1', 'example.net', '*'])(
    '"%s" is dropped without a word',
    async (host) => {
      expect(await exchange(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).toBe('');
      expect(arrived()).toEqual([]);
    },
  );

  test.each([
    ['of no name, as before HTTP/1.1', 'GET / HTTP/1.0\r\n\r\n', ''],
    [
      'that the request line names differently',
      'GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n',
      '',
    ],
    ['that are no names', 'GET / HTTP/1.1\r\nHost: localhost/#@evil\r\n\r\n', '400'],
    ['given twice', 'GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n', '400'],
    ['not given', 'GET / HTTP/1.1\r\n\r\n', '400'],
    ['left empty', 'GET / HTTP/1.1\r\nHost: \r\n\r\n', '400'],
  ])('%s do not get in', async (_case, bytes, status) => {
    expect(String(statusesOf(await exchange(bytes)))).toBe(status);
    expect(arrived()).toEqual([]);
  });

  test('do not matter to a health check of nginx itself', async () => {
    expect(
      await exchange('GET /nginx-health HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n'),
    ).toMatch(/ 200 OK/);
  });
});

describe('the address of a client', () => {
  test('is what nginx sees, whatever the client says', async () => {
    await get('/v1/models', [
      'X-Forwarded-For: 203.0.113.7',
      'X-Forwarded-For: 203.0.113.8, 127.0.0.1',
      'X_Forwarded_For: 203.0.113.9',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: evil.example',
      'Forwarded: for=203.0.113.7;host=evil.example',
    ]);
    const [request] = arrived();
    expect(request?.headers).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      host: 'localhost',
    });
    expect(JSON.stringify(request?.headers)).not.toMatch(/203\.0\.113|evil/);
  });
});

describe('request ids', () => {
  const idAtReplica = () => arrived().at(-1)?.headers['x-client-request-id'];

  test.each(['mine', 'with-"quotes"-and-\\', 'x'.repeat(128)])('%s is kept', async (id) => {
    const answer = await get('/v1/models', [`x-client-request-id: ${id}`]);
    expect(answer).toContain(`x-request-id: ${id}\r\n`);
    expect(idAtReplica()).toBe(id);
    await nginx.untilLogged(({ request_id }) => request_id === id);
  });

  test.each([
    ['none', []],
    ['an empty one', ['x-client-request-id: ']],
    ['one with spaces', ['x-client-request-id: two words']],
    ['one that is not ASCII', ['x-client-request-id: \xfcml\xe4ut']],
    ['one of 129 characters', [`x-client-request-id: ${'x'.repeat(129)}`]],
    ['a key', [`x-client-request-id: ${SECRET}`]],
  ])('are made here in the place of %s', async (_case, headers) => {
    const answer = await get('/v1/models', headers);
    const id = /^x-request-id: (req_[0-9a-f]{32})\r$/m.exec(answer)?.[1];
    expect(id).toBeDefined();
    expect(idAtReplica()).toBe(id);
    await nginx.untilLogged(({ request_id }) => request_id === id);
  });
});

describe('closed paths', () => {
  test.each([
    '/metrics',
    '/metrics?x=1',
    '/%6detrics',
    '//metrics',
    '/v1/../metrics',
    '/./metrics',
    '/v1/%2e%2e/metrics',
    '/metrics#x',
    '/docs',
    '/%64ocs',
  ])('%s is answered as if nothing were there', async (path) => {
    const answer = await get(path);
    expect(statusesOf(answer)).toEqual([404]);
    expect(answer).toContain('"type":"invalid_request_error"');
    expect(arrived()).toEqual([]);
  });

  test('do not open by an absolute address', async () => {
    expect(
      statusesOf(
        await exchange(
          'GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
        ),
      ),
    ).toEqual([404]);
    expect(arrived()).toEqual([]);
  });

  test.each(['/v1//models', '/v1/models/a%2Fb', '/v1/./models', '/x;y', '/METRICS', '/metrics/'])(
    '%s is another path, and goes as it came',
    async (path) => {
      expect(statusesOf(await get(path))).toEqual([200]);
      expect(arrived().map(({ url }) => url)).toEqual([path]);
    },
  );
});

describe('a body with a request in it', () => {
  const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\r\n';
  const post = (...headers: readonly string[]) =>
    `POST /v1/embeddings HTTP/1.1\r\n${['Host: localhost', ...headers].join('\r\n')}\r\n\r\n`;
  const chunk = (data: string) => `${data.length.toString(16)}\r\n${data}\r\n`;
  const length = SMUGGLED.length;

  test.each([
    ['of a known length', post(`Content-Length: ${length}`, 'Connection: close') + SMUGGLED],
    ['in chunks', `${post('Transfer-Encoding: chunked', 'Connection: close')}${chunk(SMUGGLED)}0\r\n\r\n`],
    [
      'in chunks with extensions',
      `${post('Transfer-Encoding: chunked', 'Connection: close')}${length.toString(16)};a=b;c="d"\r\n${SMUGGLED}\r\n0\r\n\r\n`,
    ],
  ])('%s is one request', async (_case, bytes) => {
    expect(statusesOf(await exchange(bytes))).toEqual([200]);
    expect(arrived().map(({ url, body }) => [url, body])).toEqual([['/v1/embeddings', SMUGGLED]]);
  });

  test.each([
    ['of two lengths', post('Content-Length: 0', `Content-Length: ${length}`) + SMUGGLED],
    ['of the same length twice', post(`Content-Length: ${length}`, `Content-Length: ${length}`) + SMUGGLED],
    ['of a list of lengths', post(`Content-Length: ${length}, ${length}`) + SMUGGLED],
    ['of a signed length', post(`Content-Length: +${length}`) + SMUGGLED],
    ['of a length in hexadecimal', post(`Content-Length: 0x${length.toString(16)}`) + SMUGGLED],
    [
      'both of a length and in chunks',
      `${post(`Content-Length: ${length + 10}`, 'Transfer-Encoding: chunked')}0\r\n\r\n${SMUGGLED}`,
    ],
    [
      'in chunks and of a length',
      `${post('Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n${SMUGGLED}`,
    ],
    ['of an encoding nobody knows', `${post('Transfer-Encoding: xchunked')}0\r\n\r\n${SMUGGLED}`],
    ['of two encodings', `${post('Transfer-Encoding: chunked, identity')}0\r\n\r\n${SMUGGLED}`],
    [
      'of an encoding twice',
      `${post('Transfer-Encoding: identity', 'Transfer-Encoding: chunked')}0\r\n\r\n${SMUGGLED}`,
    ],
    [
      'of the encoding `identity`',
      post('Transfer-Encoding: identity', `Content-Length: ${length}`) + SMUGGLED,
    ],
    [
      'of an encoding behind a tab',
      `${post('Transfer-Encoding:\tchunked\t', 'Content-Length: 5')}0\r\n\r\n${SMUGGLED}`,
    ],
    ['of an encoding before a space', `${post('Transfer-Encoding : chunked')}0\r\n\r\n${SMUGGLED}`],
    ['of an encoding on the next line', `${post('Transfer-Encoding:\r\n chunked')}0\r\n\r\n${SMUGGLED}`],
    [
      'of an encoding in HTTP/1.0',
      `POST /v1/embeddings HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
    ],
    [
      'in chunks of a length that is none',
      `${post('Transfer-Encoding: chunked')}zz\r\n${SMUGGLED}\r\n0\r\n\r\n`,
    ],
    [
      'in chunks of a huge length',
      `${post('Transfer-Encoding: chunked')}ffffffffffffffff1\r\n${SMUGGLED}\r\n0\r\n\r\n`,
    ],
    ['in chunks of a negative length', `${post('Transfer-Encoding: chunked')}-1\r\n${SMUGGLED}\r\n0\r\n\r\n`],
  ])('%s never is two: it is refused, or passed on without', async (_case, bytes) => {
    const [first] = statusesOf(await exchange(bytes));
    expect([400, 501, 505]).toContain(first);
    expect(arrived().filter(({ url }) => url !== '/v1/embeddings')).toEqual([]);
  });

  test('does not become a header by line ends of other kinds', async () => {
    await exchange(
      'GET /v1/models HTTP/1.1\nHost: localhost\nA: b\n\tContent-Length: 5\nConnection: close\n\n',
    );
    await get('/v1/models', [`A: b\rX-Forwarded-For: 203.0.113.7`]);
    await get('/v1/models', ['A: b\0X-Forwarded-For: 203.0.113.7']);
    for (const { headers } of arrived()) expect(headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1' });
    for (const { headers } of arrived()) expect(headers).not.toHaveProperty('content-length');
  });
});

describe('headers between neighbours', () => {
  test('end at nginx', async () => {
    await get('/v1/models', [
      'Connection: close, X-Forwarded-For, Authorization',
      'Keep-Alive: timeout=5',
      'TE: trailers',
      'Authorization: Bearer x',
    ]);
    const [request] = arrived();
    expect(request?.headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', authorization: 'Bearer x' });
    for (const name of ['keep-alive', 'te', 'upgrade']) expect(request?.headers).not.toHaveProperty(name);
    expect(request?.headers['connection'] ?? '').not.toMatch(/authorization|forwarded/i);
  });

  test('with names that programs take for others are dropped', async () => {
    await get('/v1/models', ['Content_Length: 5', '__proto__: x', 'Auth orization: x', 'X-Good: yes']);
    for (const { headers } of arrived())
      expect(JSON.stringify(headers)).not.toMatch(/content_length|__proto__|auth orization/i);
  });
});
