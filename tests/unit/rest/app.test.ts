import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../src/domain/error.ts';
import { createRouter } from '../../../src/rest/app.ts';
import { PUBLIC_PATHS } from '../../../src/rest/auth.ts';
import { errorBody, health, modelList, readiness } from '../../../src/rest/openai/response-schema.ts';
import { createFakeGateway, FAKE_KEY } from '../../support/fake-gateway.ts';
import { openRawSocket } from '../../support/raw-socket.ts';
import { REST_CONFIG, type RestServer, startRestServer, systemClock } from '../../support/rest-server.ts';

let server: RestServer;
beforeAll(async () => {
  server = await startRestServer();
});
afterAll(() => server.close());
beforeEach(() => {
  const fresh = createFakeGateway();
  const { script, limits, state } = fresh;
  Object.assign(server.gateway, { script, limits, state });
  server.logs.length = 0;
});

const CHAT = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'hello world' }] };

async function errorOf(response: Response) {
  return errorBody.parse(await response.json()).error;
}

/** Sends bytes as they are, which a well-behaved client would not. */
async function raw(request: string): Promise<string> {
  const socket = await openRawSocket(server.port);
  socket.send(request);
  return socket.closed();
}

describe('authentication', () => {
  test('every route of the router needs a key, except the public ones', async () => {
    const router = createRouter({
      gateway: createFakeGateway(),
      config: REST_CONFIG,
      telemetry: { log: () => undefined },
      metrics: async () => ({ contentType: 'text/plain', body: '' }),
      clock: systemClock,
    });
    const paths = router.stack.flatMap((layer) => layer.route?.path ?? []);
    expect(paths).toContain('/v1/chat/completions');
    expect(PUBLIC_PATHS.filter((path) => !paths.includes(path))).toEqual([]);
    for (const path of new Set(paths)) {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
        const response = await fetch(server.url + path.replace('*id', 'x'), { method });
        const isOpen = PUBLIC_PATHS.includes(path);
        expect([path, method, response.status === 401]).toEqual([path, method, !isOpen]);
        await response.arrayBuffer();
      }
    }
  });

  test('an unknown path is not open either', async () => {
    const response = await fetch(`${server.url}/v1/nothing`);
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    expect(await errorOf(response)).toMatchObject({ type: 'invalid_request_error', code: null });
  });

  test.each([
    '/v1//models',
    '//v1/models',
    '/V1/models',
    '/HEALTH',
    '/health/',
    '/health;x',
    '/%68ealth',
    '/./health',
  ])('no other spelling of a path reaches anything: %s', async (path) => {
    const head = await raw(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(head).toMatch(/^HTTP\/1\.1 401 /);
  });

  test.each(['/V1/models', '/v1/models/'])('and a key opens no other spelling: %s', async (path) => {
    expect((await server.fetch(path)).status).toBe(404);
  });

  test('only the Authorization header carries a key', async () => {
    const response = await fetch(
      `${server.url}/v1/models?api_key=${FAKE_KEY}&authorization=Bearer%20${FAKE_KEY}`,
      {
        headers: { 'x-api-key': FAKE_KEY, 'api-key': FAKE_KEY, cookie: `authorization=Bearer ${FAKE_KEY}` },
      },
    );
    expect(response.status).toBe(401);
  });

  test('two Authorization headers are no key, even if each is one', async () => {
    const line = `Authorization: Bearer ${FAKE_KEY}\r\n`;
    const answer = await raw(`GET /v1/models HTTP/1.1\r\nHost: a\r\n${line}${line}Connection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 401 /);
  });

  test('a database that is away is 503 with retry-after, never 401', async () => {
    const authenticate = server.gateway.authenticate;
    server.gateway.authenticate = async () => {
      throw new GatewayError('storage_unavailable', 'Keys cannot be checked right now.');
    };
    const response = await server.fetch('/v1/models');
    server.gateway.authenticate = authenticate;
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
  });
});

describe('bodies', () => {
  const send = (body: string | Uint8Array<ArrayBuffer>, type = 'application/json') =>
    server.fetch('/v1/chat/completions', { method: 'POST', body, headers: { 'content-type': type } });

  /** A request that would be in order, but for these bytes in a message. */
  const withContent = (bytes: Uint8Array) => {
    const [before = '', after = ''] = JSON.stringify(CHAT).split('hello');
    return Uint8Array.from(Buffer.concat([Buffer.from(before), bytes, Buffer.from(after)]));
  };
  /** A request that would be in order, but for this JSON in a field that nobody reads. */
  const withExtra = (json: string) => `${JSON.stringify(CHAT).slice(0, -1)},"extra":${json}}`;

  test.each([
    ['malformed JSON', '{"model": canary', 400],
    ['nothing', '', 400],
    ['an array', '[]', 400],
    ['text', '"canary"', 400],
    ['bad UTF-8', withContent(Uint8Array.of(0xff)), 400],
    ['half a character', withContent(Uint8Array.of(0xe2, 0x82)), 400],
    ['100,000 levels', withExtra(`${'['.repeat(100_000)}${']'.repeat(100_000)}`), 400],
    ['101 levels', withExtra(`${'{"a":'.repeat(99)}[]${'}'.repeat(99)}`), 400],
    ['a number beyond all bounds', '{"model":"m","messages":[{"role":"user","content":"x"}],"n":1e309}', 400],
  ])('%s is refused in the shape of the API, without quoting it', async (_name, body, status) => {
    const response = await send(body);
    expect(response.status).toBe(status);
    const error = await errorOf(response);
    expect(error.type).toBe('invalid_request_error');
    expect(error.message).not.toContain('canary');
  });

  test('more values than any request needs are refused before each is looked at', async () => {
    const error = await errorOf(await send(`{"model":"m","messages":[${'1,'.repeat(100_000)}1]}`));
    expect(error.message).toMatch(/more than 100000 values/);
  });

  test('100 levels are enough for anybody', async () => {
    expect((await send(withExtra(`${'{"a":'.repeat(98)}[]${'}'.repeat(98)}`))).status).toBe(200);
  });

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])(
    '%s is 415',
    async (type) => {
      expect((await send(JSON.stringify(CHAT), type)).status).toBe(415);
    },
  );

  test('a text that begins with a byte order mark is read without it', async () => {
    expect((await send(`\ufeff${JSON.stringify(CHAT)}`)).status).toBe(200);
  });

  test('another encoding than UTF-8 is 415', async () => {
    expect((await send(JSON.stringify(CHAT), 'application/json; charset=utf-16')).status).toBe(415);
  });

  test.each(['application/json; charset=utf-8', 'application/JSON', 'application/vnd.x+json'])(
    '%s is JSON',
    async (type) => {
      expect((await send(JSON.stringify(CHAT), type)).status).toBe(200);
    },
  );

  test('a compressed body is 415', async () => {
    const headers = { 'content-encoding': 'gzip', 'content-type': 'application/json' };
    const response = await server.fetch('/v1/chat/completions', { method: 'POST', body: 'x', headers });
    expect(response.status).toBe(415);
  });

  test('a body that says it is too large is refused before it is read', async () => {
    const socket = await openRawSocket(server.port);
    socket.send(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${FAKE_KEY}\r\n` +
        'Content-Type: application/json\r\nContent-Length: 30000000\r\n\r\n{',
    );
    expect(await socket.until(/request_too_large/)).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test('a body that turns out too large is 413', async () => {
    const stream = new Blob(['{"a":"', 'x'.repeat(1_100_000), '"}']).stream();
    const init = {
      method: 'POST',
      body: stream,
      headers: { 'content-type': 'application/json' },
      duplex: 'half',
    };
    expect((await server.fetch('/v1/chat/completions', init as RequestInit)).status).toBe(413);
  });

  test('keys that name prototypes change nothing', async () => {
    const body =
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"model":"llama3.1:8b",' +
      '"messages":[{"role":"user","content":"x","__proto__":{"polluted":1}}],"metadata":{"__proto__":"x"}}';
    expect((await send(body)).status).toBe(200);
    expect('polluted' in {}).toBe(false);
    const header = await raw(
      `GET /health HTTP/1.1\r\nHost: a\r\n__proto__: x\r\nconstructor: y\r\nConnection: close\r\n\r\n`,
    );
    expect(header).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe('routes', () => {
  test('an unknown one is 404 with its name', async () => {
    const response = await server.post('/v1/xyz', {});
    expect(response.status).toBe(404);
    expect(await errorOf(response)).toMatchObject({ message: 'Invalid URL (POST /v1/xyz)', code: null });
  });

  test.each(['/v1/responses/resp_1', '/v1/responses/resp_1/cancel', '/v1/conversations'])(
    'one that could only be there with a store is 404 and says that there is none: %s',
    async (path) => {
      const response = await server.post(path, {});
      expect(response.status).toBe(404);
      const { message } = await errorOf(response);
      expect(message).toContain(`Invalid URL (POST ${path}). Responses are not stored`);
    },
  );

  test('a wrong method is 405 and says which are right', async () => {
    const response = await server.fetch('/v1/chat/completions');
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('POST, OPTIONS');
    expect(await errorOf(response)).toMatchObject({ code: 'method_not_supported' });
  });

  test.each([
    ['llama3.1:8b', 'llama3.1:8b'],
    ['llama3.1%3A8b', 'llama3.1:8b'],
    ['acme/bot:1b', 'acme/bot:1b'],
    ['acme%2Fbot:1b', 'acme/bot:1b'],
  ])('a model is found as /v1/models/%s', async (path, id) => {
    const response = await server.fetch(`/v1/models/${path}`);
    expect(await response.json()).toMatchObject({ id, object: 'model' });
  });

  test('a model id is decoded once, and broken encoding is the caller’s fault', async () => {
    expect((await server.fetch('/v1/models/acme%252Fbot:1b')).status).toBe(404);
    const response = await server.fetch('/v1/models/%zz');
    expect(response.status).toBe(400);
    await errorOf(response);
  });

  test('the list of models is never null', async () => {
    const list = modelList.parse(await (await server.fetch('/v1/models')).json());
    expect(list.data.map((model) => model.created)).toEqual([1767323045, 0, 0, 0]);
  });

  test('operations need no key and say what they are about', async () => {
    expect(health.parse(await (await fetch(`${server.url}/health`)).json())).toMatchObject({
      replica: 'replica-1',
    });
    const ready = await fetch(`${server.url}/ready`);
    expect(ready.status).toBe(200);
    expect(readiness.parse(await ready.json()).dependencies).toEqual({ database: { state: 'embedded' } });
    server.gateway.state = { ready: true, draining: true, dependencies: [] };
    expect((await fetch(`${server.url}/ready`)).status).toBe(503);
    const metrics = await fetch(`${server.url}/metrics`);
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(await metrics.text()).toBe('up 1\n');
    expect(await (await fetch(server.url)).json()).toMatchObject({ documentation: '/docs' });
  });
});

describe('headers', () => {
  test.each([
    ['trace-1', 'trace-1'],
    ['x'.repeat(128), 'x'.repeat(128)],
  ])('a sane request id is kept', async (sent, kept) => {
    const response = await server.fetch('/v1/models', { headers: { 'x-client-request-id': sent } });
    expect(response.headers.get('x-request-id')).toBe(kept);
  });

  test.each(['x'.repeat(129), 'a b', 'caf\u00e9', ''])('any other is replaced: %j', async (sent) => {
    const response = await server.fetch('/v1/models', { headers: { 'x-client-request-id': sent } });
    expect(response.headers.get('x-request-id')).toMatch(/^req_[\w-]{24}$/);
  });

  test('every answer has the same few, failures too, and none that tells what runs here', async () => {
    for (const path of ['/v1/models', '/v1/nothing', '/health']) {
      const { headers } = await server.fetch(path);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('openai-version')).toBe('2020-10-01');
      expect(headers.get('x-powered-by')).toBeNull();
      expect(headers.get('etag')).toBeNull();
    }
    expect((await server.fetch('/v1/models')).headers.get('openai-processing-ms')).toMatch(/^\d+$/);
  });

  test('what cannot be sent, nor its failure, ends the connection and nothing else', async () => {
    server.gateway.limits = { mode: 'exact', requests: { limit: 'a\nb' as never, remaining: 1, resetMs: 0 } };
    await expect(server.post('/v1/chat/completions', CHAT)).rejects.toThrow();
    server.gateway.limits = undefined;
    expect((await server.post('/v1/chat/completions', CHAT)).status).toBe(200);
  });

  test('limits are shown on success and on refusal alike', async () => {
    server.gateway.limits = {
      mode: 'degraded',
      requests: { limit: 60, remaining: 0, resetMs: 360_000 },
      tokens: { limit: 1000, remaining: 984.7, resetMs: 12 },
      concurrency: { limit: 4, remaining: 3, resetMs: 0 },
    };
    const ok = await server.post('/v1/chat/completions', CHAT);
    server.gateway.script = () => {
      throw new GatewayError('rate_limited', 'Slow down.', { limit: 'requests', retryAfterMs: 1500 });
    };
    const refused = await server.post('/v1/chat/completions', { ...CHAT, stream: true });
    expect([ok.status, refused.status]).toEqual([200, 429]);
    for (const { headers } of [ok, refused]) {
      const value = (name: string) => headers.get(`x-ratelimit-${name}`);
      expect([value('limit-requests'), value('remaining-requests'), value('reset-requests')]).toEqual([
        '60',
        '0',
        '6m0s',
      ]);
      expect([value('limit-tokens'), value('remaining-tokens'), value('reset-tokens')]).toEqual([
        '1000',
        '984',
        '12ms',
      ]);
      expect([value('limit-concurrent'), value('remaining-concurrent')]).toEqual(['4', '3']);
      expect(value('mode')).toBe('degraded');
    }
    expect(refused.headers.get('retry-after')).toBe('2');
    expect(refused.headers.get('retry-after-ms')).toBe('1500');
  });

  test('parameters that nobody knows are listed, by sane names only', async () => {
    const body = { ...CHAT, top_a: 1, user: 'u', 'evil\r\nname': 1, store: false };
    const response = await server.post('/v1/chat/completions', body);
    expect(response.headers.get('x-ignored-parameters')).toBe('top_a');
  });

  test('warnings are one harmless header', async () => {
    server.gateway.script = async function* () {
      yield [{ type: 'started', model: 'm', backend: 'b', warnings: ['No\r\nthinking \u2713.'] }];
      const reasons = [{ unified: 'stop', raw: 'stop' }] as const;
      yield [{ type: 'finished', reasons, usage: {}, timings: {} }];
    };
    for (const stream of [true, false]) {
      const response = await server.post('/v1/chat/completions', { ...CHAT, stream, verbosity: 'low' });
      expect(response.headers.get('x-gateway-warnings')).toBe("'verbosity' has no effect. No??thinking ?.");
    }
  });
});

describe('failures of the façade itself', () => {
  test('are masked, marked as not worth repeating, and logged without content', async () => {
    server.gateway.script = () => {
      throw new TypeError('canary: what the user wrote');
    };
    const response = await server.post('/v1/chat/completions', CHAT);
    expect(response.status).toBe(500);
    expect(response.headers.get('x-should-retry')).toBe('false');
    expect(await errorOf(response)).toMatchObject({ type: 'server_error', code: null });
    expect(server.logs).toEqual([
      {
        message: expect.any(String),
        fields: {
          request_id: expect.any(String),
          error: 'TypeError',
          at: expect.stringMatching(/^at .*\.ts:/),
        },
      },
    ]);
    expect(JSON.stringify(server.logs)).not.toContain('canary');
  });
});
