import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI, {
  APIConnectionError,
  APIError,
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
} from 'openai';
import { DEFAULT_MODELS } from '../../simulator/models.ts';
import type { Script } from '../../simulator/server.ts';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { TEST_KEY } from '../support/gateway.ts';

let server: Deployment;
let client: OpenAI;
beforeAll(async () => {
  server = await startDeployment({ simulator: { models: [...DEFAULT_MODELS, { name: 'qwen3:8b' }] } });
  client = clientOf(TEST_KEY);
});
afterAll(() => server.close());

function clientOf(apiKey: string, maxRetries = 0): OpenAI {
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries });
}

const CHAT = { model: 'llama3.1:8b', messages: [{ role: 'user' as const, content: 'Say hello.' }] };

async function failureOf(answer: PromiseLike<unknown>): Promise<unknown> {
  return await answer.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('failures with their real causes, as the official SDK sees them', () => {
  test.each<[string, object, string, string | undefined]>([
    ['a wrong type', { messages: 'x' }, 'invalid_type', 'messages'],
    ['no message', { messages: [] }, 'empty_array', 'messages'],
    ['no model', { model: null }, 'invalid_type', 'model'],
    ['a value out of range', { temperature: 2.5 }, 'decimal_above_max_value', 'temperature'],
    ['an unsupported parameter', { functions: [] }, 'unsupported_parameter', 'functions'],
    ['a model that cannot chat', { model: 'nomic-embed-text' }, 'capability_missing', 'model'],
  ])('OAI-70 MUST answer %s as BadRequestError that names it', async (_name, over, code, param) => {
    const failure = await failureOf(client.chat.completions.create({ ...CHAT, ...over }));
    expect(failure).toBeInstanceOf(BadRequestError);
    expect(failure).toMatchObject({ status: 400, code, param, type: 'invalid_request_error' });
  });

  test('OAI-71 MUST answer an unknown, an expired and a revoked key alike, as AuthenticationError', async () => {
    const { key, secret } = await server.createKey();
    await server.keys.revoke(key.keyId);
    const expired = 'llmgw_expired123456789abcdef0123456789abcdef0123456789abcdef0123456789';
    const bodies = [];
    for (const bearer of [secret, expired, 'llmgw_unknown123456789abcdef']) {
      const failure = await failureOf(clientOf(bearer).models.list());
      expect(failure).toBeInstanceOf(AuthenticationError);
      bodies.push(failure instanceof APIError ? failure.error : failure);
    }
    expect(new Set(bodies.map((body) => JSON.stringify(body))).size).toBe(1);
  });

  test('OAI-72 MUST answer what a key may not do as PermissionDeniedError', async () => {
    const { secret } = await server.createKey({ scopes: ['models'] });
    const failure = await failureOf(clientOf(secret).chat.completions.create(CHAT));
    expect(failure).toBeInstanceOf(PermissionDeniedError);
    expect(failure).toMatchObject({ status: 403, code: 'insufficient_permissions' });
  });

  test('OAI-73 MUST answer an unknown model and an unknown path as NotFoundError', async () => {
    const model = failureOf(client.chat.completions.create({ ...CHAT, model: 'none' }));
    const path = failureOf(client.get('/none'));
    for (const failure of [await model, await path]) expect(failure).toBeInstanceOf(NotFoundError);
  });

  test.each<[string, Script, number, string, number]>([
    [
      'fails for good',
      { errorStatus: 500, errorText: 'unable to load full model' },
      502,
      'upstream_failed',
      1,
    ],
    ['is busy', { errorStatus: 503, errorText: 'server busy, please try again.' }, 503, 'upstream_busy', 2],
    ['breaks off before its first line', { resetAt: 'headers' }, 503, 'upstream_unavailable', 2],
    ['ends without an answer', { eofAfter: 0 }, 502, 'upstream_incomplete', 2],
  ])(
    'OAI-74 MUST answer a model server that %s as InternalServerError, tried again only where that may help',
    async (_name, script, status, code, tries) => {
      const before = server.simulator.stats().requests;
      server.simulator.setDefault(script);
      const failure = await failureOf(clientOf(TEST_KEY, 1).chat.completions.create(CHAT));
      server.simulator.setDefault({});
      expect(failure).toBeInstanceOf(InternalServerError);
      expect(failure).toMatchObject({ status, code, type: 'server_error' });
      expect(server.simulator.stats().requests - before).toBe(tries);
    },
  );

  test('OAI-75 MUST raise what fails after the first token out of the stream, without another try', async () => {
    const before = server.simulator.stats().requests;
    server.simulator.script({ errorAfter: 2 });
    const stream = await clientOf(TEST_KEY, 2).chat.completions.create({ ...CHAT, stream: true });
    const reading = (async () => {
      for await (const chunk of stream) expect(chunk.object).toBe('chat.completion.chunk');
    })();
    expect(await failureOf(reading)).toMatchObject({ code: 'upstream_failed', type: 'server_error' });
    expect(server.simulator.stats().requests - before).toBe(1);
  });
});

describe('limits, as the official SDK sees them', () => {
  test('OAI-76 MUST have a request above the limit pass when the time it was told is over', async () => {
    const { secret } = await server.createKey({ limits: { requestsPerMinute: 60 } });
    const patient = clientOf(secret, 2);
    const answers = await Promise.all(
      Array.from({ length: 61 }, () => patient.chat.completions.create(CHAT).withResponse()),
    );
    expect(answers).toHaveLength(61);
    const impatient = await Promise.all(
      Array.from({ length: 5 }, () => failureOf(clientOf(secret).chat.completions.create(CHAT))),
    );
    const refused = impatient.find((failure) => failure instanceof RateLimitError);
    expect(refused).toMatchObject({ status: 429, code: 'rate_limit_exceeded', type: 'requests' });
    expect(refused?.headers?.get('retry-after')).toBe('1');
    expect(Number(refused?.headers?.get('retry-after-ms'))).toBeGreaterThan(0);
    expect(Number(refused?.headers?.get('retry-after-ms'))).toBeLessThanOrEqual(1000);
  });

  test('OAI-77 MUST show the limits in the formats of the API', async () => {
    const { secret } = await server.createKey({ limits: { requestsPerMinute: 60, tokensPerMinute: 5000 } });
    const { response } = await clientOf(secret).chat.completions.create(CHAT).withResponse();
    const limit = (name: string) => response.headers.get(`x-ratelimit-${name}`);
    expect([limit('limit-requests'), limit('remaining-requests')]).toEqual(['60', '59']);
    expect(limit('limit-tokens')).toBe('5000');
    expect(limit('remaining-tokens')).toMatch(/^\d+$/);
    const duration = /^(?:\d+h)?(?:\d+m)?(?:\d+(?:\.\d+)?s|\d+ms)$/;
    expect(limit('reset-requests')).toMatch(duration);
    expect(limit('reset-tokens')).toMatch(duration);
  });

  test('OAI-78 MUST not have a request repeated that could never pass', async () => {
    const { secret } = await server.createKey({ limits: { tokensPerMinute: 100 } });
    const before = await server.rows();
    const request = { ...CHAT, max_completion_tokens: 5000 };
    const failure = await failureOf(clientOf(secret, 2).chat.completions.create(request));
    expect(failure).toBeInstanceOf(RateLimitError);
    expect(failure).toMatchObject({ type: 'tokens', code: 'rate_limit_exceeded' });
    expect((await server.rows()) - before).toBe(1);
  });
});

describe('parameters take effect on the model, not only on paper', () => {
  test('OAI-80 MUST end at max_completion_tokens, which wins over max_tokens, and say so', async () => {
    const answer = await client.chat.completions.create({
      ...CHAT,
      max_completion_tokens: 2,
      max_tokens: 50,
    });
    expect(answer.choices[0]?.finish_reason).toBe('length');
    expect(answer.usage?.completion_tokens).toBe(2);
  });

  test('OAI-81 MUST answer completions in 16 tokens unless told', async () => {
    const request = { model: CHAT.model, prompt: '[[sim:{"tokens":50}]]' };
    const answer = await client.completions.create(request);
    expect(answer.choices[0]?.finish_reason).toBe('length');
    expect(answer.usage?.completion_tokens).toBe(16);
  });

  test('OAI-82 MUST cut an answer at a stop string and leave that out', async () => {
    server.simulator.script({ text: 'one two three' });
    const answer = await client.chat.completions.create({ ...CHAT, stop: [' two', 'x'] });
    expect(answer.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'one' } });
  });

  test('OAI-83 MUST count what was used, the same streamed or not, in a form that adds up', async () => {
    const whole = (await client.chat.completions.create({ ...CHAT, seed: 1 })).usage;
    const chunks = [];
    const options = { stream: true as const, stream_options: { include_usage: true } };
    for await (const chunk of await client.chat.completions.create({ ...CHAT, seed: 1, ...options })) {
      chunks.push(chunk);
    }
    const { prompt_tokens = 0, completion_tokens = 0, total_tokens } = whole ?? {};
    expect(total_tokens).toBe(prompt_tokens + completion_tokens);
    expect(chunks.at(-1)?.usage).toMatchObject({ prompt_tokens, completion_tokens, total_tokens });
  });

  test('OAI-84 MUST show what a model thinks apart from what it answers', async () => {
    const request = { ...CHAT, model: 'qwen3:8b' };
    server.simulator.script({ thinking: 'Hm.', text: 'Yes.' });
    const whole = await client.chat.completions.create({ ...request, reasoning_effort: 'high' });
    expect(whole.choices[0]?.message).toMatchObject({ content: 'Yes.', reasoning_content: 'Hm.' });
    server.simulator.script({ thinking: 'Hm.', text: 'Yes.' });
    const plain = await client.chat.completions.create({ ...request, reasoning_effort: 'none' });
    expect(plain.choices[0]?.message).not.toHaveProperty('reasoning_content');
  });
});

describe('aborts', () => {
  const endless = (): Script => ({ tokens: 5, paceMs: 5, neverEnding: true });
  const isIdle = () =>
    server.simulator.until(({ inFlight, queued, loading }) => inFlight + queued + loading === 0);

  test('OAI-85 MUST end the work when the caller aborts, before the answer and within it', async () => {
    const before = server.simulator.stats().aborted;
    const leaving = new AbortController();
    server.simulator.script({ hangBeforeHeaders: true });
    const failing = failureOf(client.chat.completions.create(CHAT, { signal: leaving.signal }));
    await server.simulator.until(({ inFlight }) => inFlight === 1);
    leaving.abort();
    expect(await failing).toBeInstanceOf(APIUserAbortError);
    await isIdle();

    server.simulator.script(endless());
    const stream = await client.chat.completions.create({ ...CHAT, stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) stream.controller.abort();
    await isIdle();

    server.simulator.script(endless());
    for await (const chunk of await client.chat.completions.create({ ...CHAT, stream: true })) {
      if (chunk.choices[0]?.delta.content) break;
    }
    await isIdle();
    await server.simulator.until((stats) => stats.aborted - before === 3);
  });

  test('OAI-86 MUST end the work when the caller’s own time is up', async () => {
    server.simulator.script({ hangBeforeHeaders: true });
    const failure = await failureOf(client.chat.completions.create(CHAT, { timeout: 200 }));
    expect(failure).toBeInstanceOf(APIConnectionError);
    await isIdle();
  });
});
