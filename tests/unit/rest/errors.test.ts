import { describe, expect, test } from '@jest/globals';
import { ERRORS, type ErrorCode, GatewayError } from '../../../src/domain/error.ts';
import { decodeHttpError, encodeError, retryHeaders } from '../../../src/rest/errors.ts';

const codes = Object.keys(ERRORS) as ErrorCode[];

describe('errors', () => {
  test.each(codes)('%s has all four keys, its public message and nothing internal', (code) => {
    const error = new GatewayError(code, 'public', {
      detail: 'http://10.0.0.1:11434 refused',
      cause: new Error('x'),
    });
    const body = encodeError(error);
    expect(Object.keys(body)).toEqual(['error']);
    expect(Object.keys(body.error)).toEqual(['message', 'type', 'param', 'code']);
    expect(body.error.message).toBe('public');
    expect(JSON.stringify(body)).not.toContain('10.0.0.1');
  });

  test('a limit says which: requests and concurrency as requests, tokens as tokens', () => {
    for (const error of ['rate_limited', 'request_too_large'] as const) {
      const typeOf = (limit: 'requests' | 'tokens' | 'concurrency') =>
        encodeError(new GatewayError(error, 'm', { limit })).error;
      expect(typeOf('requests')).toMatchObject({ type: 'requests', code: 'rate_limit_exceeded' });
      expect(typeOf('concurrency')).toMatchObject({ type: 'requests', code: 'rate_limit_exceeded' });
      expect(typeOf('tokens')).toMatchObject({ type: 'tokens', code: 'rate_limit_exceeded' });
    }
  });

  test('a context that is too long is the fault of the messages', () => {
    expect(encodeError(new GatewayError('context_length_exceeded', 'm')).error).toMatchObject({
      param: 'messages',
      code: 'context_length_exceeded',
    });
  });
});

describe('retries', () => {
  const headers = (code: ErrorCode, details = {}) => {
    const list = retryHeaders(new GatewayError(code, 'm', details));
    return Object.fromEntries(list.flatMap((name, at) => (at % 2 === 0 ? [[name, list[at + 1]]] : [])));
  };

  test('what the SDKs would repeat in vain, they are told not to', () => {
    for (const code of ['internal', 'upstream_failed', 'request_too_large', 'upstream_timeout'] as const) {
      expect(headers(code)).toEqual({ 'x-should-retry': 'false' });
    }
    expect(headers('upstream_unavailable', { retryable: false })).toEqual({ 'x-should-retry': 'false' });
    expect(headers('invalid_request')).toEqual({});
  });

  test('a limit says when: in whole seconds, at least one, and exactly', () => {
    expect(headers('rate_limited', { retryAfterMs: 1201 })).toEqual({
      'retry-after': '2',
      'retry-after-ms': '1201',
    });
    expect(headers('rate_limited', { retryAfterMs: 0 })).toEqual({
      'retry-after': '1',
      'retry-after-ms': '1',
    });
    expect(headers('shutting_down')).toMatchObject({ 'retry-after': '1' });
    expect(headers('upstream_incomplete')).toEqual({});
  });

  test('a wait above 60 s, which the SDKs cut short, is told and not to be tried', () => {
    expect(headers('rate_limited', { retryAfterMs: 60_000 })).not.toHaveProperty('x-should-retry');
    expect(headers('rate_limited', { retryAfterMs: 60_001 })).toEqual({
      'retry-after': '61',
      'retry-after-ms': '60001',
      'x-should-retry': 'false',
    });
  });

  test('a 401 says how to authenticate', () => {
    expect(headers('missing_api_key')).toEqual({ 'WWW-Authenticate': 'Bearer' });
    expect(headers('invalid_api_key')).toEqual({ 'WWW-Authenticate': 'Bearer' });
  });
});

describe('what the web framework throws', () => {
  test.each([
    ['a broken path', { status: 400 }, 'invalid_request'],
    ['anything else', { status: 418 }, 'internal'],
  ])('%s is answered, and its message stays inside', (_what, properties, code) => {
    const error = decodeHttpError(Object.assign(new Error('canary'), properties));
    expect(error.code).toBe(code);
    expect(error.message).not.toContain('canary');
  });
});
