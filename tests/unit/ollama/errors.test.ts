import { describe, expect, test } from '@jest/globals';
import {
  decodeErrorLine,
  decodeFailure,
  decodeSocketError,
  isConnectFailure,
} from '../../../src/providers/ollama/errors.ts';
import { UnreadableResponse } from '../../../src/providers/ollama/response.ts';

const origin = { backend: 'ollama-1', promptField: 'messages' } as const;
const fail = (status: number, error: unknown) => decodeFailure(status, JSON.stringify({ error }), origin);
const nested = (inner: object) => JSON.stringify({ error: inner });

describe('what Ollama says', () => {
  const table: [number, unknown, object][] = [
    [404, "model 'x' not found", { code: 'model_not_found', param: 'model' }],
    [404, 'model "x" not found, try pulling it first', { code: 'model_not_found', param: 'model' }],
    [400, 'invalid model name', { code: 'invalid_request', param: 'model' }],
    [
      400,
      'registry.ollama.ai/library/phi3:mini does not support tools',
      { code: 'capability_missing', param: 'tools' },
    ],
    [
      400,
      '"llama3.1:8b" does not support thinking',
      { code: 'capability_missing', param: 'reasoning_effort' },
    ],
    [400, '"bert" does not support chat', { code: 'capability_missing', param: 'model' }],
    [500, 'this model does not support embeddings', { code: 'capability_missing', param: 'model' }],
    [
      400,
      nested({
        code: 400,
        message: 'Multimodal data provided, but model does not support multimodal requests.',
      }),
      { code: 'capability_missing', param: 'messages' },
    ],
    [400, 'illegal base64 data at input byte 4', { code: 'invalid_request', param: 'messages' }],
    [
      400,
      'the prompt is longer than the context length currently available to the model; shorten it',
      { code: 'context_length_exceeded', param: 'messages' },
    ],
    [400, 'the input length exceeds the context length', { code: 'context_length_exceeded' }],
    [400, 'input length exceeds maximum context length', { code: 'context_length_exceeded' }],
    [500, 'input exceeds context length', { code: 'context_length_exceeded' }],
    [
      400,
      nested({ type: 'exceed_context_size_error', message: 'too long', n_prompt_tokens: 5000, n_ctx: 4096 }),
      {
        code: 'context_length_exceeded',
        message: "The prompt has 5000 tokens, and the model's context holds 4096.",
      },
    ],
    [
      500,
      'option "temperature" must be of type float32',
      {
        code: 'invalid_request',
        param: 'temperature',
        message: 'The option temperature must be of type float32.',
      },
    ],
    [
      400,
      'invalid think value: "max" (must be "high")',
      { code: 'unsupported_parameter', param: 'reasoning_effort' },
    ],
    [400, 'top_logprobs must be between 0 and 20', { code: 'invalid_request', param: 'top_logprobs' }],
    [500, 'invalid format: "x"; expected "json"', { code: 'invalid_request', param: 'response_format' }],
    [400, 'time: missing unit in duration "300"', { code: 'invalid_request', param: 'keep_alive' }],
    [
      503,
      'server busy, please try again.  maximum pending requests exceeded',
      { code: 'upstream_busy', retryable: true, retryAfterMs: 2000 },
    ],
    [
      500,
      'llama-server process has terminated: exit status 2: error loading /models/x',
      { code: 'upstream_failed', retryable: false, detail: expect.stringMatching(/exit status 2$/) },
    ],
    [
      500,
      'model requires more system memory (8.0 GiB) than is available (3.1 GiB)',
      { code: 'upstream_failed' },
    ],
    [
      500,
      'llama-server reported out-of-memory during startup: x',
      { code: 'upstream_failed', retryable: false },
    ],
    [500, 'model runner has unexpectedly stopped, this may be', { code: 'upstream_failed', retryable: true }],
    [400, 'something new', { code: 'invalid_request', param: undefined }],
    [500, 'something new', { code: 'upstream_failed', retryable: false }],
    [502, 'bad gateway', { code: 'upstream_failed', retryable: true }],
    [503, 'something new', { code: 'upstream_busy' }],
    [429, 'something new', { code: 'upstream_busy', retryable: true, retryAfterMs: 2000 }],
    [401, 'unauthorized', { code: 'upstream_failed' }],
    [403, '', { code: 'upstream_failed' }],
    [500, { message: 'an object' }, { code: 'upstream_failed' }],
    [500, null, { code: 'upstream_failed' }],
  ];
  test.each(table)('%i %j', (status, error, expected) => {
    expect(fail(status, error)).toMatchObject(expected);
  });

  test.each([
    [404, '404 page not found'],
    [405, '405 method not allowed'],
    [400, '<html>'],
    [403, ''],
  ])('a %i in plain text is no failure of the caller', (status, body) => {
    expect(decodeFailure(status, body, origin).code).toBe('upstream_failed');
  });

  test.each([
    ['30', 30_000],
    ['3600', 3_600_000],
    ['3601', 2000],
    ['0', 2000],
    ['-1', 2000],
    ['Wed, 21 Oct 2026 07:28:00 GMT', 2000],
    ['30, 60', 2000],
    [undefined, 2000],
  ])('a server too busy is believed when it says to come back after %j, within reason', (retryAfter, ms) => {
    for (const status of [429, 503]) {
      const error = decodeFailure(status, '{"error":"something new"}', { ...origin, retryAfter });
      expect(error).toMatchObject({ code: 'upstream_busy', retryAfterMs: ms });
    }
  });

  test('a prompt that is too long is named by the field it came in', () => {
    const body = '{"error":"the input length exceeds the context length"}';
    expect(decodeFailure(400, body, { backend: 'ollama-1', promptField: 'input' }).param).toBe('input');
  });

  test('a line in the stream is read by the same table', () => {
    expect(decodeErrorLine({ error: "model 'x' not found", status: 404 }, origin).code).toBe(
      'model_not_found',
    );
    expect(decodeErrorLine({ error: { deep: true } }, origin).code).toBe('upstream_failed');
  });
});

test('neither the caller nor the log sees anything but known words', () => {
  const canary = 'CANARY 10.1.2.3 /root/.ollama';
  for (const error of [
    canary,
    `model '${canary}' not found`,
    `llama-server process has terminated: ${canary}`,
    `option "${canary}" must be of type int`,
    `${canary} does not support tools`,
    `invalid format: ${canary}`,
    `the prompt is longer than the context length ${canary}`,
    `time: invalid duration "${canary}"`,
    nested({ type: canary, message: canary }),
  ]) {
    for (const failure of [fail(400, error), fail(500, error), decodeErrorLine({ error }, origin)]) {
      expect(`${failure.message} ${failure.detail} ${failure.param}`).not.toContain('CANARY');
      expect(failure.detail).toMatch(/^ollama-1: /);
    }
  }
});

describe('connections', () => {
  const socket = (code: string) => Object.assign(new Error('connect 10.1.2.3:11434'), { code });

  test('where nobody is there, another backend can be tried', () => {
    for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT']) {
      const failure = decodeSocketError(socket(code), false, 'ollama-1');
      expect(failure).toMatchObject({ code: 'upstream_unavailable', retryable: true });
      expect(isConnectFailure(failure)).toBe(true);
      expect(failure.message).not.toContain('10.1.2.3');
    }
  });

  test('a reset is unavailable before the answer and incomplete within it, and neither means that nobody is there', () => {
    const before = decodeSocketError(socket('ECONNRESET'), false, 'ollama-1');
    const within = decodeSocketError(socket('EPIPE'), true, 'ollama-1');
    expect([before.code, within.code]).toEqual(['upstream_unavailable', 'upstream_incomplete']);
    expect([isConnectFailure(before), isConnectFailure(within)]).toEqual([false, false]);
  });

  test('what is not HTTP cannot be read', () => {
    const failure = decodeSocketError(new UnreadableResponse('a header that is not one'), false, 'ollama-1');
    expect(failure).toMatchObject({
      code: 'upstream_incomplete',
      detail: 'ollama-1: a header that is not one',
    });
  });
});
