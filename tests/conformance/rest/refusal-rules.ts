import { expect, test } from '@jest/globals';
import OpenAI, { APIError, AuthenticationError, BadRequestError, NotFoundError } from 'openai';
import * as answers from '../../../src/rest/openai/response-schema.ts';
import { openRawSocket } from '../../support/raw-socket.ts';
import { messages, post, type Session } from './session.ts';

export function describeRefusals(session: () => Session): void {
  test('OAI-50 MUST answer a wrong key and a missing one as AuthenticationError', async () => {
    const { subject } = session();
    const stranger = new OpenAI({ baseURL: `${subject.url}/v1`, apiKey: 'llmgw_wrong', maxRetries: 0 });
    const failure = await stranger.models.list().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AuthenticationError);
    expect(failure).toMatchObject({
      code: 'invalid_api_key',
      type: 'invalid_request_error',
      requestID: expect.any(String),
    });
    const missing = await fetch(`${subject.url}/v1/models`);
    expect(missing.status).toBe(401);
    expect(answers.errorBody.parse(await missing.json()).error.code).toBeNull();
  });

  test('OAI-51 MUST answer an unknown model as NotFoundError, before any stream begins', async () => {
    const { client } = session();
    for (const stream of [false, true]) {
      const failing = client.chat.completions.create({ model: 'no-such-model', messages, stream });
      const failure = await failing.catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(NotFoundError);
      expect(failure).toMatchObject({ code: 'model_not_found' });
    }
  });

  test('OAI-52 MUST name the parameter it cannot honour', async () => {
    const { subject, client } = session();
    const failing = client.chat.completions.create({
      model: subject.models.chat,
      messages,
      logit_bias: { 1: 1 },
    });
    const failure = await failing.catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BadRequestError);
    expect(failure).toMatchObject({ param: 'logit_bias', code: 'unsupported_parameter' });
  });

  test('OAI-53 MUST fetch no image', async () => {
    const { subject, client } = session();
    const image = { type: 'image_url' as const, image_url: { url: 'http://127.0.0.1:1/x.png' } };
    const failing = client.chat.completions.create({
      model: subject.models.chat,
      messages: [{ role: 'user', content: [image] }],
    });
    await expect(failing).rejects.toMatchObject({
      status: 400,
      param: 'messages[0].content[0].image_url.url',
    });
  });

  test.each([
    ['OAI-54', 'an unknown route', 'POST', '/v1/nothing', '{}', 404],
    ['OAI-55', 'a wrong method', 'GET', '/v1/embeddings', undefined, 405],
    ['OAI-56', 'malformed JSON', 'POST', '/v1/chat/completions', '{"model"', 400],
    [
      'OAI-57',
      'deep nesting',
      'POST',
      '/v1/chat/completions',
      `{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`,
      400,
    ],
  ])('%s MUST answer %s in the shape of the API', async (_id, _name, method, path, body, status) => {
    const { subject } = session();
    const response = await fetch(subject.url + path, {
      method,
      headers: { authorization: `Bearer ${subject.key}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body }),
    });
    expect(response.status).toBe(status);
    answers.errorBody.parse(await response.json());
  });

  test('OAI-58 MUST send one Access-Control-Allow-Origin, on failures too', async () => {
    const { subject } = session();
    const response = await fetch(`${subject.url}/v1/nothing`, { headers: { origin: 'https://a.example' } });
    expect(response.headers.get('access-control-allow-origin')).toMatch(/^(\*|https:\/\/a\.example)$/);
  });

  test('OAI-59 MUST answer what has no class of its own as APIError, with its status and code', async () => {
    const { subject, client } = session();
    const failure = await client.get('/embeddings').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(APIError);
    expect(failure).toMatchObject({ status: 405, code: 'method_not_supported' });
    const plain = await post(session(), '/v1/embeddings', '{}', { 'content-type': 'text/plain' });
    expect(plain.status).toBe(415);
    answers.errorBody.parse(await plain.json());

    const socket = await openRawSocket(Number(new URL(subject.url).port));
    socket.send(
      `POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${subject.key}\r\n` +
        'Content-Type: application/json\r\nContent-Length: 4000000000\r\n\r\n{',
    );
    expect(await socket.until(/"code":"request_too_large"/)).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test('OAI-64 MUST let a page of any origin send what the SDK sends, and read what it reads', async () => {
    const { subject } = session();
    const sent = [
      'authorization',
      'content-type',
      'x-stainless-retry-count',
      'x-stainless-timeout',
      'x-client-request-id',
    ];
    const preflight = await fetch(`${subject.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://a.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': sent.join(','),
      },
    });
    expect(preflight.status).toBe(204);
    const allowed = preflight.headers.get('access-control-allow-headers')?.toLowerCase() ?? '';
    expect(allowed.split(/, */)).toEqual(sent);
    expect(preflight.headers.get('access-control-allow-credentials')).toBeNull();
    const exposed = preflight.headers.get('access-control-expose-headers') ?? '';
    for (const name of ['x-request-id', 'x-ratelimit-remaining-requests', 'retry-after']) {
      expect(exposed.split(', ')).toContain(name);
    }
  });
}
