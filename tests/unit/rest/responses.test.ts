import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Abortable } from '../../../src/core/signal.ts';
import { type ErrorCode, type ErrorDetails, GatewayError } from '../../../src/domain/error.ts';
import { errorBody } from '../../../src/rest/openai/response-schema.ts';
import { response as responseBody, responseEvent } from '../../../src/rest/openai/responses/schema.ts';
import { content, finished, started } from '../../support/fake-gateway.ts';
import { type RestServer, startRestServer } from '../../support/rest-server.ts';
import { parseEvents } from '../../support/sse.ts';
import { until } from '../../support/until.ts';

const REQUEST = { model: 'llama3.1:8b', input: 'hello world' };
const STREAM = { ...REQUEST, stream: true };

let server: RestServer;
beforeAll(async () => {
  server = await startRestServer({ holdBackMs: 60_000 });
});
afterAll(() => server.close());

const fail = (code: ErrorCode, details: ErrorDetails = {}) => {
  server.gateway.script = () => {
    throw new GatewayError(code, 'It failed.', details);
  };
};

const silence = (signal: Abortable) =>
  new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

const eventsOf = async (answer: Response) =>
  parseEvents(await answer.text()).data.map((json) => responseEvent.parse(JSON.parse(json)));

describe('POST /v1/responses', () => {
  test('asks the core for a chat of which it keeps the answer, streamed or not', async () => {
    server.gateway.script = async function* () {
      yield [started(), content('hi'), finished()];
    };
    for (const [body, streamed] of [
      [REQUEST, false],
      [STREAM, true],
    ] as const) {
      await (await server.post('/v1/responses', body)).text();
      expect(server.gateway.callers.at(-1)).toMatchObject({
        protocol: 'rest',
        operation: 'chat',
        streamed,
        isKept: true,
      });
    }
  });

  test('says what had no effect, in the header and in the body', async () => {
    server.gateway.script = async function* () {
      yield [{ type: 'started', model: 'm', backend: 'b', warnings: ['It does not think.'] }, finished()];
    };
    const answer = await server.post('/v1/responses', { ...REQUEST, store: true });
    const { warnings } = responseBody.parse(await answer.json());
    expect(warnings).toEqual(["'store' has no effect: responses are not stored.", 'It does not think.']);
    expect(answer.headers.get('x-gateway-warnings')).toBe(warnings?.join(' '));
  });

  test('names parameters that it does not know, and no others', async () => {
    server.gateway.script = async function* () {
      yield [started(), finished()];
    };
    const answer = await server.post('/v1/responses', { ...STREAM, client_metadata: {}, user: 'u' });
    expect(answer.headers.get('x-ignored-parameters')).toBe('client_metadata');
    await answer.text();
  });

  test.each([REQUEST, STREAM])(
    'fails before its first event with the status and shape of the API',
    async (body) => {
      fail('upstream_unavailable');
      const answer = await server.post('/v1/responses', body);
      expect(answer.status).toBe(503);
      expect(errorBody.parse(await answer.json()).error.code).toBe('upstream_unavailable');
    },
  );

  test.each<[ErrorCode, string | undefined, string | null]>([
    ['context_length_exceeded', undefined, 'input'],
    ['capability_missing', 'messages[3].content', 'input'],
    ['invalid_request', 'response_format', 'text.format'],
    ['unsupported_parameter', 'reasoning_effort', 'reasoning.effort'],
    ['capability_missing', 'tools', 'tools'],
    ['upstream_failed', undefined, null],
  ])('names the field of a %s (%s) as it is named here: %s', async (code, param, named) => {
    fail(code, param === undefined ? {} : { param });
    const answer = await server.post('/v1/responses', REQUEST);
    expect(errorBody.parse(await answer.json()).error.param).toBe(named);
  });

  test('keeps what a limit says of itself where it renames the field', async () => {
    fail('rate_limited', { param: 'messages', limit: 'tokens', retryAfterMs: 1500 });
    const answer = await server.post('/v1/responses', REQUEST);
    expect(answer.headers.get('retry-after-ms')).toBe('1500');
    expect(errorBody.parse(await answer.json()).error).toMatchObject({ type: 'tokens', param: 'input' });
  });

  test('ends a stream that fails in an event that says so', async () => {
    for (const thrown of [new GatewayError('upstream_incomplete', 'It broke off.'), new Error('canary')]) {
      server.gateway.script = async function* () {
        yield [started(), content('half')];
        throw thrown;
      };
      const answer = await server.post('/v1/responses', STREAM);
      expect(answer.status).toBe(200);
      const last = (await eventsOf(answer)).at(-1);
      const isOurs = thrown instanceof GatewayError;
      const logged = server.logs.splice(0).map(({ fields }) => fields?.['error']);
      expect(logged).toEqual(isOurs ? [] : ['Error']);
      expect(last).toMatchObject({
        type: 'response.failed',
        response: {
          status: 'failed',
          error: {
            code: isOurs ? 'upstream_incomplete' : 'server_error',
            message: isOurs ? 'It broke off.' : expect.not.stringContaining('canary'),
          },
        },
      });
    }
  });

  test('ends a stream that merely ends likewise', async () => {
    server.gateway.script = async function* () {
      yield [started(), content('half')];
    };
    const events = await eventsOf(await server.post('/v1/responses', STREAM));
    expect(events.at(-1)).toMatchObject({
      type: 'response.failed',
      response: { error: { code: 'upstream_incomplete' } },
    });
  });

  test.each([REQUEST, STREAM])('ends its work at once when the client leaves', async (body) => {
    server.gateway.script = async function* (_request, signal) {
      yield [started(), content('one')];
      await silence(signal);
    };
    const leaving = new AbortController();
    const answer = server.post('/v1/responses', body, { signal: leaving.signal }).catch(() => undefined);
    await until(() => server.gateway.running() === 1);
    leaving.abort();
    await answer;
    await until(() => server.gateway.running() === 0);
  });
});
