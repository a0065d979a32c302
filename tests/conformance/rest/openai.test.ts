import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import OpenAI, {
  APIError,
  BadRequestError,
  InternalServerError,
  PermissionDeniedError,
  RateLimitError,
} from 'openai';
import { type ErrorCode, type ErrorDetails, GatewayError } from '../../../src/domain/error.ts';
import { content, FAKE_KEY, finished, started } from '../../support/fake-gateway.ts';
import { type RestServer, startRestServer } from '../../support/rest-server.ts';
import { describeConformance } from './suite.ts';

describeConformance('the façade over a scripted gateway', async () => {
  const { url, close } = await startRestServer();
  const models = {
    chat: 'llama3.1:8b',
    embedding: 'nomic-embed-text:latest',
    insert: 'qwen2.5-coder:7b',
    namespaced: 'acme/bot:1b',
  };
  return { url, key: FAKE_KEY, models, weatherQuestion: 'What is the weather in Paris?', close };
});

describe('failures, as the official SDK sees them', () => {
  let server: RestServer;
  let client: OpenAI;
  let tries: number;
  beforeAll(async () => {
    server = await startRestServer({ holdBackMs: 1000 });
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: FAKE_KEY, maxRetries: 2 });
  });
  afterAll(() => server.close());
  beforeEach(() => {
    tries = 0;
  });

  const request = { model: 'llama3.1:8b', messages: [{ role: 'user' as const, content: 'x' }] };

  /** Fails so many times, then answers. */
  const fail = (times: number, code: ErrorCode, details: ErrorDetails = {}) => {
    server.gateway.script = async function* () {
      if (++tries <= times) throw new GatewayError(code, 'It failed.', details);
      yield [started(), content('ok'), finished()];
    };
  };

  test.each([false, true])(
    'OAI-60 MUST have a rate limit retried after the time it says (stream: %s)',
    async (stream) => {
      fail(1, 'rate_limited', { limit: 'tokens', retryAfterMs: 1 });
      await client.chat.completions.create({ ...request, stream });
      expect(tries).toBe(2);
    },
  );

  test.each([
    ['rate_limited', RateLimitError, 3],
    ['request_too_large', RateLimitError, 1],
    ['upstream_unavailable', InternalServerError, 3],
    ['upstream_failed', InternalServerError, 1],
    ['upstream_timeout', InternalServerError, 1],
    ['internal', InternalServerError, 1],
    ['not_permitted', PermissionDeniedError, 1],
    ['context_length_exceeded', BadRequestError, 1],
    ['capability_missing', BadRequestError, 1],
  ] as const)(
    'OAI-61 MUST be of the right class and tried no more than makes sense: %s',
    async (code, kind, most) => {
      fail(Number.POSITIVE_INFINITY, code, { retryAfterMs: 1 });
      const failure = await client.chat.completions.create(request).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(kind);
      expect(failure).toMatchObject({ type: expect.any(String), requestID: expect.stringMatching(/^req_/) });
      expect(tries).toBe(most);
    },
  );

  test('OAI-61 MUST not be tried again before a limit that is more than a minute away', async () => {
    fail(Number.POSITIVE_INFINITY, 'rate_limited', { limit: 'tokens', retryAfterMs: 61_000 });
    const failure = await client.chat.completions.create(request).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(RateLimitError);
    expect(tries).toBe(1);
  });

  test('OAI-62 MUST raise an error in the middle of a stream, and not try again', async () => {
    server.gateway.script = async function* () {
      tries++;
      yield [started(), content('half')];
      throw new GatewayError('upstream_incomplete', 'It broke off.');
    };
    let text = '';
    const reading = (async () => {
      const stream = await client.chat.completions.create({ ...request, stream: true });
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    })();
    const failure = await reading.catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(APIError);
    expect(failure).toMatchObject({ code: 'upstream_incomplete', type: 'server_error' });
    expect([text, tries]).toEqual(['half', 1]);
  });

  test('OAI-63 MUST free everything when the client stops reading or aborts', async () => {
    server.gateway.script = async function* (_request, signal) {
      yield [started(), content('one')];
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    };
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
      if (chunk.choices[0]?.delta.content === 'one') break;
    }
    while (server.gateway.running() > 0) await new Promise((resolve) => setImmediate(resolve));

    const abort = new AbortController();
    const whole = client.chat.completions.create(request, { signal: abort.signal });
    while (server.gateway.running() === 0) await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    await expect(whole).rejects.toThrow();
    while (server.gateway.running() > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});
