/** Attacks through, by and on the model server, numbered as one list through all `hostile-` files. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import type { Script } from '../../simulator/server.ts';
import { errorBody } from '../../src/rest/openai/response-schema.ts';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { TEST_KEY } from '../support/gateway.ts';
import { parseEvents } from '../support/sse.ts';

const CHAT = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'Say hello.' }] };

let server: Deployment;
/** Where nothing may ever connect to. */
let canary: Server;
let canaryUrl: string;
const visits: IncomingHttpHeaders[] = [];

beforeAll(async () => {
  canary = createServer((request, response) => {
    visits.push(request.headers);
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await once(canary, 'listening');
  canaryUrl = `http://127.0.0.1:${(canary.address() as AddressInfo).port}`;
  server = await startDeployment({ env: { LOG_LEVEL: 'debug' } });
});
afterAll(async () => {
  await server.close();
  canary.closeAllConnections();
  canary.close();
  await once(canary, 'close');
});
afterEach(() => expect(visits).toEqual([]));

/** What the model server was asked last. */
const lastRequest = () => server.simulator.requests().findLast(({ path }) => path === '/api/chat');

describe('hostile 10: a request that names another server', () => {
  test('in its body or headers is answered by the configured one', async () => {
    const host = canaryUrl.slice('http://'.length);
    const body = {
      ...CHAT,
      ...Object.fromEntries(
        [
          'api_base',
          'base_url',
          'endpoint',
          'host',
          'url',
          'proxy',
          'api_key',
          'extra_headers',
          'webhook',
        ].map((name) => [name, canaryUrl]),
      ),
      metadata: { url: canaryUrl },
    };
    const headers = {
      'x-portkey-custom-host': canaryUrl,
      'x-api-base': canaryUrl,
      'x-forwarded-host': host,
      forwarded: `host=${host}`,
      'x-upstream': canaryUrl,
      'x-simulator': '{"text":"steered"}',
    };
    const answer = await server.post('/v1/chat/completions', body, { headers });
    expect(answer.status).toBe(200);
    expect(await answer.text()).not.toContain('steered');
    expect(JSON.stringify(lastRequest())).not.toContain(host);
  });

  test.each([
    () => `${canaryUrl}/x.png`,
    () => `${canaryUrl.replace('127.0.0.1', '2130706433')}/x.png`,
    () => `${canaryUrl.replace('127.0.0.1', '[::ffff:127.0.0.1]')}/x.png`,
    () => `${canaryUrl.replace('127.0.0.1', 'localhost')}/x.png`,
    () => canaryUrl.replace('http:', 'HTTP:'),
    () => 'http://169.254.169.254/latest/meta-data/',
    () => 'file:///etc/passwd',
    () => `data:text/html,<img src=${canaryUrl}>`,
  ])('as the address of an image is a 400, and fetches nothing: %#', async (address) => {
    const image = { type: 'image_url', image_url: { url: address() } };
    const answer = await server.post('/v1/chat/completions', {
      ...CHAT,
      messages: [{ role: 'user', content: [image] }],
    });
    expect(answer.status).toBe(400);
    const { error } = errorBody.parse(await answer.json());
    expect(error.param).toBe('messages[0].content[0].image_url.url');
  });
});

test('hostile 11: a redirect of the model server is not followed', async () => {
  server.simulator.script({ redirectTo: `${canaryUrl}/api/chat` });
  const answer = await server.post('/v1/chat/completions', CHAT);
  expect(answer.status).toBe(502);
  const { error } = errorBody.parse(await answer.json());
  expect([error.code, error.message.includes('127.0.0.1')]).toEqual(['upstream_failed', false]);
});

test('hostile 12: headers pass neither from the caller to the model server nor back', async () => {
  server.simulator.script({
    rawStatus: 200,
    rawHeaders: {
      'content-type': 'application/x-ndjson',
      'set-cookie': 'canary=1',
      server: 'canary',
      'x-canary': '1',
      'access-control-allow-origin': 'https://canary.example',
    },
    rawBody: '{"model":"m","message":{"role":"assistant","content":"x"},"done":true,"done_reason":"stop"}\n',
  });
  const answer = await server.post('/v1/chat/completions', CHAT, {
    headers: {
      cookie: 'canary=1',
      'x-canary': '1',
      'proxy-authorization': 'canary',
      forwarded: 'for=canary',
      'x-forwarded-for': '10.9.8.7',
      'x-client-request-id': 'canary-id',
      'user-agent': 'canary',
    },
  });
  expect(answer.status).toBe(200);
  expect([...answer.headers.keys()].filter((name) => /cookie|^server$|canary/.test(name))).toEqual([]);
  expect(answer.headers.get('access-control-allow-origin')).toBe('*');
  const sent = JSON.stringify(lastRequest()?.headers);
  expect(sent).not.toMatch(/canary|authorization|cookie|10\.9\.8\.7|llmgw_/i);
});

describe('hostile 13: a model name that is meant for somebody else', () => {
  const names = [
    '../../api/pull',
    'x?insecure=true',
    'x#/api/delete',
    'x\r\nDELETE /api/delete HTTP/1.1\r\n\r\n',
    '%2e%2e%2fapi%2fcreate',
    'evil.example/x:y',
    `${'a/'.repeat(50)}b`,
    '\0',
    '\ud800',
    '__proto__',
    'constructor',
    'llama3.1:8b ',
    '/etc/passwd',
  ];

  test('is not found, whatever the route, and asks the model server for nothing but its state', async () => {
    const before = server.simulator.requests().length;
    for (const model of names) {
      const answers = [
        await server.post('/v1/chat/completions', { ...CHAT, model }),
        await server.post('/v1/responses', { model, input: 'x' }),
        await server.post('/v1/completions', { model, prompt: 'x' }),
        await server.post('/v1/embeddings', { model, input: 'x' }),
        await server.fetch(`/v1/models/${encodeURIComponent(model.toWellFormed())}`),
      ];
      for (const answer of answers) {
        expect([model, answer.status]).toEqual([model, 404]);
        expect(errorBody.parse(await answer.json()).error.code).toBe('model_not_found');
      }
    }
    const asked = server.simulator.requests().slice(before);
    const allowed = ['/api/version', '/api/tags', '/api/ps', '/api/show'];
    expect(asked.filter(({ path }) => !allowed.includes(path))).toEqual([]);
  });

  test('or longer than any name is refused by name', async () => {
    const answer = await server.post('/v1/chat/completions', { ...CHAT, model: 'x'.repeat(10_000) });
    expect(answer.status).toBe(400);
    const text = await answer.text();
    expect(errorBody.parse(JSON.parse(text)).error.param).toBe('model');
    expect(text.length).toBeLessThan(500);
  });
});

describe('hostile 14: an answer that is meant to harm', () => {
  const final = '{"message":{"content":""},"done":true,"done_reason":"stop"';
  const withCounts = (counts: string) => ({
    rawHeaders: { 'content-type': 'application/x-ndjson' },
    rawBody: `{"message":{"content":"x"},"done":false}\n${final},${counts}}\n`,
  });

  /** Each with whether it is an answer after all. */
  const scripts: readonly (readonly [string, Script, boolean])[] = [
    ['one byte at a time, also within characters', { text: 'Grüße 日本 🚀', splitBytes: 1 }, true],
    ['a line of 50 MB', { hugeLineBytes: 50 * 2 ** 20 }, false],
    ['a compressed bomb of 64 MB', { gzipBomb: 2 ** 26 }, false],
    ['no last line', { eofAfter: 3 }, false],
    ['nothing', { eofAfter: 0 }, false],
    ['counts that are negative', withCounts('"prompt_eval_count":-5,"eval_count":-1'), true],
    ['counts beyond all bounds', withCounts('"prompt_eval_count":1e308,"eval_count":1e999'), true],
    ['counts of another type', withCounts('"prompt_eval_count":"9","eval_count":{"$gt":0}'), true],
    ['an error with a 200', { errorAfter: 0, errorText: 'boom' }, false],
    ['an error in the middle', { errorAfter: 2, errorText: 'boom' }, false],
    ['rubbish after the last line', { trailingGarbage: true }, true],
    ['rubbish in place of a line', { garbage: true }, false],
    ['a reset on arrival', { resetAt: 'accept' }, false],
    ['a reset before the headers', { resetAt: 'headers' }, false],
    ['a reset after the headers', { resetAt: 'body' }, false],
    ['a reset in the middle', { resetAt: 2 }, false],
    ['a page of HTML', { rawBody: '<script>', rawHeaders: { 'content-type': 'text/html' } }, false],
    [
      'a line that names prototypes',
      withCounts('"__proto__":{"x":1},"constructor":{"prototype":{"x":1}}'),
      true,
    ],
    ['100,000 levels', { garbage: `${'['.repeat(100_000)}${']'.repeat(100_000)}\n` }, false],
  ];

  test.each(scripts)(
    '%s: one answer or one error, streamed or not, and settled',
    async (_name, script, isAnswer) => {
      for (const stream of [false, true]) {
        const id = `hostile-14-${Math.random().toString(36).slice(2)}`;
        server.simulator.script(script);
        const headers = { 'x-client-request-id': id };
        const answer = await server.post('/v1/chat/completions', { ...CHAT, stream }, { headers });
        const body = await answer.text();
        if (answer.headers.get('content-type')?.startsWith('text/event-stream')) {
          const { data, otherFields } = parseEvents(body);
          expect(otherFields).toEqual([]);
          const failures = data.filter((json) => json.startsWith('{"error"'));
          expect([failures.length, data.filter((json) => json === '[DONE]').length]).toEqual(
            isAnswer ? [0, 1] : [1, 0],
          );
          if (!isAnswer) errorBody.parse(JSON.parse(failures[0] ?? ''));
        } else if (isAnswer) expect(answer.status).toBe(200);
        else {
          expect(answer.status).toBeGreaterThanOrEqual(500);
          errorBody.parse(JSON.parse(body));
        }
        const row = await server.row(id);
        expect(row.status).toBe(isAnswer ? 'ok' : 'error');
        for (const count of [row.prompt_tokens, row.completion_tokens]) {
          expect(count === null || (Number(count) >= 0 && Number(count) < 1e6)).toBe(true);
        }
      }
      await server.simulator.until(({ inFlight, queued, loading }) => inFlight + queued + loading === 0);
    },
  );

  test('an answer without end costs bounded memory, and ends with its reader', async () => {
    // Warm, so that what grows is the answer's.
    for (let i = 0; i < 5; i++) await (await server.post('/v1/chat/completions', CHAT)).text();
    const before = server.residentBytes();
    server.simulator.script({ tokens: ['x'.repeat(1000)], neverEnding: true });
    const answer = await server.post('/v1/chat/completions', { ...CHAT, stream: true });
    let bytes = 0;
    for await (const chunk of answer.body ?? []) {
      bytes += chunk.length;
      if (bytes > 30 * 2 ** 20) break;
    }
    expect(server.residentBytes() - before).toBeLessThan(96 * 2 ** 20);
    await server.simulator.until(({ inFlight }) => inFlight === 0);
  });

  test('a model that hangs keeps nobody else waiting', async () => {
    server.simulator.script({ hangBeforeHeaders: true });
    const leaving = new AbortController();
    const hanging = server.post('/v1/chat/completions', CHAT, { signal: leaving.signal });
    await server.simulator.until(({ inFlight }) => inFlight === 1);
    const other = { ...CHAT, model: 'qwen2.5:7b' };
    expect((await server.post('/v1/chat/completions', other)).status).toBe(200);
    expect((await server.fetch('/v1/models')).status).toBe(200);
    leaving.abort();
    await expect(hanging).rejects.toThrow();
  });
});

describe('hostile 15: text that looks like the frame around it', () => {
  const texts = [
    'a\n\nevent: error\ndata: {"error":{"message":"x"}}\n\nb',
    'a\r\n\r\ndata: [DONE]\r\n\r\nb',
    'data: [DONE]',
    'a\rb\r\rid: 1\r\r',
    'a\u2028b\u2029c\u0085d\u000be\u000cf\u001cg',
    '</script><script>alert(1)</script>',
    '"}],"usage":null}\n\n',
    ': ping\n\n',
    '\u0000\u0007\u001b[2J',
    '\ufeffdata:',
  ];

  test.each(texts)('arrives as it is: %j', async (text) => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: TEST_KEY, maxRetries: 0 });
    const request = { model: 'llama3.1:8b', messages: [{ role: 'user' as const, content: 'x' }] };
    for (const tokens of [[text], [...text]]) {
      server.simulator.script({ tokens });
      const stream = await client.chat.completions.create({ ...request, stream: true });
      let streamed = '';
      let finishes = 0;
      for await (const chunk of stream) {
        streamed += chunk.choices[0]?.delta.content ?? '';
        if (chunk.choices[0]?.finish_reason) finishes++;
      }
      expect([streamed, finishes]).toEqual([text, 1]);
    }
    server.simulator.script({ tokens: [text] });
    const whole = await client.chat.completions.create(request);
    expect(whole.choices[0]?.message.content).toBe(text);
  });

  test('is one event a chunk, with [DONE] once and last', async () => {
    server.simulator.script({ tokens: texts });
    const answer = await server.post('/v1/chat/completions', { ...CHAT, stream: true });
    const { data, otherFields } = parseEvents(await answer.text());
    expect(otherFields).toEqual([]);
    // One for the role, one a token, one for the end.
    expect(data).toHaveLength(texts.length + 3);
    expect(data.indexOf('[DONE]')).toBe(data.length - 1);
  });
});

describe('hostile 16: an error of the model server that tells too much', () => {
  const secrets = 'http://10.1.2.3:11434 /root/.ollama/models sk-canarycanarycanary at foo (server.go:12)';

  test.each<[string, Script]>([
    ['before the answer', { errorStatus: 500, errorText: secrets }],
    ['that is itself JSON', { errorStatus: 400, errorText: secrets, nestedJsonError: true }],
    ['in the middle', { errorAfter: 1, errorText: secrets }],
    [
      'of a kind that is known',
      { errorStatus: 500, errorText: `llama runner process has terminated: ${secrets}` },
    ],
    ['that is a page', { rawStatus: 502, rawBody: `<html>${secrets}` }],
  ])('%s is masked, and keeps the request id', async (_name, script) => {
    server.simulator.script(script);
    const headers = { 'x-client-request-id': 'hostile-16' };
    const answer = await server.post('/v1/chat/completions', { ...CHAT, stream: true }, { headers });
    expect(answer.headers.get('x-request-id')).toBe('hostile-16');
    const text = await answer.text();
    expect(text).toContain('"error":{');
    expect(text).not.toMatch(/10\.1\.2\.3|\.ollama|canary|server\.go/);
    expect(JSON.stringify(server.gateway.logs())).not.toMatch(/10\.1\.2\.3|\.ollama|sk-canary|server\.go/);
    expect(text).not.toContain(server.simulator.url.slice('http://'.length));
  });

  test('as is the address of one that is gone', async () => {
    await server.simulator.stop();
    const answer = await server.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await answer.text()).not.toMatch(/127\.0\.0\.1|ECONN/);
    await server.simulator.restart();
  });
});
