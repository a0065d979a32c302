/** Attacks on HTTP, JSON and the limits, numbered as one list through all `hostile-` files. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { errorBody } from '../../src/rest/openai/response-schema.ts';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { TEST_KEY } from '../support/gateway.ts';
import type { RawSocket } from '../support/raw-socket.ts';

const CHAT = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'Say hello.' }] };
const BODY = JSON.stringify(CHAT);
const HEAD =
  'POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n' +
  `Authorization: Bearer ${TEST_KEY}\r\n`;

let server: Deployment;
beforeAll(async () => {
  server = await startDeployment();
});
afterAll(async () => {
  // Whatever was tried, the process that started is the one that answers at the end.
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
  expect(server.gateway.logs().filter(({ level }) => level === 'error')).toEqual([]);
  await server.close();
});

async function answerTo(bytes: string): Promise<string> {
  const socket = await server.connect();
  socket.send(bytes);
  return socket.closed();
}

describe('hostile 23: a request within a request', () => {
  const smuggled = `${HEAD}X-Client-Request-Id: smuggled\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
  const chunked = `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;

  test.each([
    ['a length and chunks', `Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`],
    ['two lengths', `Content-Length: 0\r\nContent-Length: ${BODY.length}\r\n\r\n`],
    ['a list of lengths', `Content-Length: 0, ${BODY.length}\r\n\r\n`],
    ['chunks that are not the last encoding', `Transfer-Encoding: chunked, identity\r\n\r\n${chunked}`],
    ['identity', `Transfer-Encoding: identity\r\n\r\n`],
    ['chunks with a vertical tab', `Transfer-Encoding:\x0bchunked\r\n\r\n${chunked}`],
    ['a space before the colon', `Transfer-Encoding : chunked\r\n\r\n${chunked}`],
    ['a folded header', `Transfer-Encoding:\r\n chunked\r\n\r\n${chunked}`],
    ['a bare LF', `X: a\nTransfer-Encoding: chunked\r\n\r\n${chunked}`],
    ['a negative length', 'Content-Length: -1\r\n\r\n'],
    ['a length with a sign', `Content-Length: +${BODY.length}\r\n\r\n`],
  ])('%s: 400, and what follows is no request', async (_name, rest) => {
    const before = server.simulator.stats().requests;
    const answer = await answerTo(HEAD + rest + smuggled);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    errorBody.parse(JSON.parse(answer.split('\r\n\r\n')[1] ?? ''));
    expect(server.simulator.stats().requests).toBe(before);
  });

  test('requests in a row are answered in their order, each by itself', async () => {
    const one = (id: string, close = '') =>
      `${HEAD}X-Client-Request-Id: ${id}\r\n${close}Content-Length: ${BODY.length}\r\n\r\n${BODY}`;
    const answer = await answerTo(one('first') + one('second', 'Connection: close\r\n'));
    expect(answer.match(/x-request-id: \w+/g)).toEqual(['x-request-id: first', 'x-request-id: second']);
  });

  test('a request that was refused by its headers leaves no body behind to be taken for the next', async () => {
    const inner = 'GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n';
    const wrong = HEAD.replace('application/json', 'text/plain');
    const answer = await answerTo(
      `${wrong}Content-Length: ${inner.length}\r\n\r\n${inner}` +
        'GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 415', 'HTTP/1.1 200']);
  });
});

describe('hostile 24: clients that keep connections and send nothing', () => {
  const sockets: RawSocket[] = [];
  afterAll(() => {
    for (const socket of sockets) socket.destroy();
  });

  // Their end, when their time is up, is tested with the HTTP server by itself.
  test('a thousand of them, in every phase of a request, keep nobody else from being served', async () => {
    const phases = [
      '',
      'POST /v1/chat/comp',
      HEAD,
      `${HEAD}Content-Length: 1000\r\n\r\n{"model":`,
      `${HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n{"mod`,
      `${HEAD}Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n`,
    ];
    const before = server.residentBytes();
    for (let batch = 0; batch < 20; batch++) {
      const opened = await Promise.all(Array.from({ length: 50 }, () => server.connect()));
      for (const [index, socket] of opened.entries()) {
        const phase = phases[index % phases.length] ?? '';
        if (phase !== '') socket.send(phase);
      }
      sockets.push(...opened);
    }
    const answer = await server.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(200);
    expect((await server.fetch('/v1/models')).status).toBe(200);
    expect(server.residentBytes() - before).toBeLessThan(128 * 2 ** 20);
    expect(server.simulator.stats().inFlight).toBe(0);
  });
});

describe('hostile 25: names, numbers and depths', () => {
  test.each([
    ['__proto__ as a header', '__proto__: {"x":1}'],
    ['constructor as a header', 'constructor: x'],
    ['toString and valueOf as headers', 'toString: x\r\nvalueOf: x\r\nhasOwnProperty: x'],
    ['two hosts', 'Host: b'],
  ])('%s', async (_name, header) => {
    const answer = await answerTo(
      `${HEAD}${header}\r\nConnection: close\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 (?:200|400) /);
  });

  const withExtra = (json: string) => `${BODY.slice(0, -1)},${json}}`;
  const withContent = (json: string) => BODY.replace('"Say hello."', json);

  test.each<[string, string, number]>([
    ['a prototype at the top', withExtra('"__proto__":{"x":1},"constructor":{"prototype":{"x":1}}'), 200],
    ['a prototype in a message', BODY.replace('"role"', '"__proto__":{"content":"x"},"role"'), 200],
    [
      'a prototype as a schema',
      withExtra('"tools":[{"type":"function","function":{"name":"f","parameters":{"__proto__":{"x":1}}}}]'),
      200,
    ],
    ['a key twice, of which the last counts', withExtra('"model":"none"'), 404],
    ['100,000 levels of lists', withExtra(`"x":${'['.repeat(1e5)}${']'.repeat(1e5)}`), 400],
    ['100,000 levels of objects', withExtra(`"x":${'{"a":'.repeat(1e5)}1${'}'.repeat(1e5)}`), 400],
    [
      '100,000 levels in a schema',
      withExtra(
        `"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":${'{"a":'.repeat(1e5)}{}${'}'.repeat(1e5)}}}`,
      ),
      400,
    ],
    ['numbers beyond all bounds', withExtra('"seed":1e400'), 400],
    ['a number of 10,000 digits', withExtra(`"seed":${'9'.repeat(10_000)}`), 400],
    ['a lone surrogate', withContent('"\\ud800"'), 200],
    ['NUL', withContent('"\\u0000"'), 200],
    [
      '100,000 messages',
      `{"model":"llama3.1:8b","messages":[${Array(1e5).fill('{"role":"user","content":""}').join()}]}`,
      400,
    ],
    ['90,000 unknown fields', withExtra(Array.from({ length: 9e4 }, (_, i) => `"f${i}":1`).join()), 200],
    ['more values than there may be', withExtra(`"x":[${'1,'.repeat(5e6)}1]`), 400],
    [
      'as many messages as fit that are none',
      `{"model":"llama3.1:8b","messages":[${'1,'.repeat(5e6)}1]}`,
      400,
    ],
    ['half a body', BODY.slice(0, -5), 400],
  ])('%s', async (_name, body, status) => {
    const started = performance.now();
    const answer = await server.fetch('/v1/chat/completions', { method: 'POST', body });
    const text = await answer.text();
    if (status === 200) {
      expect([answer.status, text]).toEqual([200, expect.stringContaining('"finish_reason":"stop"')]);
    } else {
      expect([answer.status < 500, answer.status >= 400]).toEqual([true, true]);
      errorBody.parse(JSON.parse(text));
      expect(text.length).toBeLessThan(1000);
    }
    // The least that can be said on a busy machine: nothing here takes time that grows with its depth.
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test('30 MB are refused before they are read, and nothing of the above is in anybody’s prototype', async () => {
    const socket = await server.connect();
    socket.send(`${HEAD}Content-Length: ${30 * 2 ** 20}\r\n\r\n{`);
    expect(await socket.until(/request_too_large/)).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
    const answer = await (await server.post('/v1/chat/completions', CHAT)).json();
    expect('x' in answer).toBe(false);
    expect(Object.keys(answer.choices[0].message)).toEqual(['role', 'content', 'refusal']);
  });
});

test('hostile 26: a made-up origin changes neither the limits nor the log', async () => {
  const { secret } = await server.createKey({ limits: { requestsPerMinute: 3 } });
  const statuses = [];
  for (let i = 0; i < 5; i++) {
    const headers = {
      authorization: `Bearer ${secret}`,
      'x-forwarded-for': `10.0.0.${i}`,
      'x-real-ip': `10.0.0.${i}`,
      forwarded: `for=10.0.0.${i}`,
    };
    const answer = await server.post('/v1/chat/completions', CHAT, { headers });
    statuses.push(answer.status);
    await answer.text();
  }
  expect(statuses).toEqual([200, 200, 200, 429, 429]);
  expect(JSON.stringify(server.gateway.logs())).not.toContain('10.0.0.');
});

describe('hostile 27: values that would make a request cheaper than it is', () => {
  test.each<[string, string]>([
    ['max_tokens', '-1'],
    ['max_tokens', '0'],
    ['max_tokens', '1.5'],
    ['max_tokens', '1e309'],
    ['max_tokens', '"5"'],
    ['max_completion_tokens', '-9007199254740993'],
    ['n', '0'],
    ['n', '-1'],
    ['n', '0.5'],
    ['n', '129'],
    ['stop', '[1]'],
    ['stop', JSON.stringify(Array(33).fill('x'))],
  ])('%s: %s is refused by name and costs nothing', async (name, value) => {
    const { secret } = await server.createKey({ limits: { requestsPerMinute: 10, tokensPerMinute: 10_000 } });
    const headers = { authorization: `Bearer ${secret}` };
    const body = `${BODY.slice(0, -1)},"${name}":${value}}`;
    const refused = await server.fetch('/v1/chat/completions', { method: 'POST', body, headers });
    expect(refused.status).toBe(400);
    expect(errorBody.parse(await refused.json()).error.param).toMatch(new RegExp(`^${name}`));
    const next = await server.post('/v1/chat/completions', CHAT, { headers });
    expect(next.headers.get('x-ratelimit-remaining-requests')).toBe('9');
    await next.text();
  });

  test('n answers cost n times', async () => {
    const { secret } = await server.createKey({ limits: { tokensPerMinute: 100_000 } });
    const headers = { authorization: `Bearer ${secret}` };
    const held = async (n: number) => {
      const before = await server.post('/v1/chat/completions', { ...CHAT, n, max_tokens: 1000 }, { headers });
      await before.text();
      return 100_000 - Number(before.headers.get('x-ratelimit-remaining-tokens'));
    };
    expect(await held(1)).toBeLessThan(1100);
    expect(await held(10)).toBeGreaterThan(10_000);
  });

  test.each([
    ['before the first token', { hangBeforeHeaders: true }],
    ['in the middle', { tokens: 5, hangAfter: 3 }],
  ])('a client that leaves %s gives back what it held, once', async (_name, script) => {
    const { secret } = await server.createKey({
      limits: { tokensPerMinute: 100_000, concurrentRequests: 1 },
    });
    const headers = { authorization: `Bearer ${secret}` };
    for (let i = 0; i < 3; i++) {
      server.simulator.script(script);
      const leaving = new AbortController();
      const running = server.post(
        '/v1/chat/completions',
        { ...CHAT, stream: true, max_tokens: 50_000 },
        { headers, signal: leaving.signal },
      );
      await server.simulator.until(({ inFlight }) => inFlight === 1);
      leaving.abort();
      await running.then((answer) => answer.text()).catch(() => undefined);
      await server.simulator.until(({ inFlight }) => inFlight === 0);
    }
    const next = await server.post('/v1/chat/completions', CHAT, { headers });
    expect(next.status).toBe(200);
    expect(Number(next.headers.get('x-ratelimit-remaining-tokens'))).toBeGreaterThan(95_000);
    await next.text();
  });
});

describe('hostile 28: what a key was not given', () => {
  test('a model outside its list is refused before any model server hears of it', async () => {
    const { key, secret } = await server.createKey({ models: ['qwen*'] });
    const before = server.simulator.stats().requests;
    const statuses = [];
    for (const model of [
      'llama3.1:8b',
      'LLAMA3.1:8B',
      'library/llama3.1:8b',
      'llama3.1',
      'qwen/../llama3.1:8b',
    ]) {
      const headers = { authorization: `Bearer ${secret}`, 'x-client-request-id': `outside-${model.length}` };
      const answer = await server.post('/v1/chat/completions', { ...CHAT, model }, { headers });
      statuses.push(answer.status);
      await answer.text();
    }
    expect(statuses.slice(0, 4)).toEqual([403, 403, 403, 403]);
    expect([403, 404]).toContain(statuses[4]);
    expect(server.simulator.stats().requests).toBe(before);
    expect(await server.row('outside-19')).toMatchObject({ status: 'error', key_id: key.keyId });
  });

  test('more tokens than it may ever use are refused before any model server hears of it', async () => {
    const { secret } = await server.createKey({ limits: { tokensPerMinute: 1000 } });
    const before = server.simulator.stats().requests;
    const headers = { authorization: `Bearer ${secret}` };
    for (const over of [{ max_tokens: 2000 }, { max_tokens: 100, n: 20 }]) {
      const answer = await server.post('/v1/chat/completions', { ...CHAT, ...over }, { headers });
      expect(answer.status).toBe(429);
      expect(answer.headers.get('x-should-retry')).toBe('false');
      expect(errorBody.parse(await answer.json()).error.type).toBe('tokens');
    }
    expect(server.simulator.stats().requests).toBe(before);
  });
});

test('what never got in is not in the ledger', async () => {
  const before = await server.rows();
  const refusals = [
    server.fetch('/v1/chat/completions', { method: 'POST', body: '{"model"' }),
    server.fetch('/v1/chat/completions', { method: 'POST', body: '[]' }),
    server.post('/v1/chat/completions', { ...CHAT, messages: 1 }),
    server.post('/v1/none', CHAT),
    server.fetch('/v1/chat/completions'),
    server.post('/v1/chat/completions', CHAT, { headers: { 'content-type': 'text/plain' } }),
    server.post('/v1/chat/completions', CHAT, {
      headers: { authorization: 'Bearer llmgw_nobody1234567890' },
    }),
  ];
  const statuses = [];
  for (const answer of await Promise.all(refusals)) {
    statuses.push(answer.status);
    errorBody.parse(await answer.json());
  }
  expect(statuses).toEqual([400, 400, 400, 404, 405, 415, 401]);
  expect(await server.rows()).toBe(before);
});
