import { describe, expect, test } from '@jest/globals';
import { formatDuration } from '../../../src/http/limit-headers.ts';
import { encodeEmbeddings, encodeModel, encodeUsage } from '../../../src/rest/openai/response.ts';

describe('durations', () => {
  test.each([
    [0, '0s'],
    [-5, '0s'],
    [12, '12ms'],
    [12.2, '13ms'],
    [1000, '1s'],
    [8640, '8.64s'],
    [60_000, '1m0s'],
    [360_000, '6m0s'],
    [3_723_000, '1h2m3s'],
  ])('%d ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});

describe('answers', () => {
  test('counts that nobody knows are absent, never null or zero', () => {
    for (const usage of [{}, { promptTokens: 5 }, { completionTokens: 5 }]) {
      expect(encodeUsage(usage)).toBeUndefined();
    }
    expect(encodeEmbeddings('m', [], {}, 'float')).not.toHaveProperty('usage');
    expect(
      encodeUsage({ promptTokens: 0, completionTokens: 2, cachedTokens: 0, reasoningTokens: 1 }),
    ).toEqual({
      prompt_tokens: 0,
      completion_tokens: 2,
      total_tokens: 2,
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 1 },
    });
  });

  test('counts of the gateway say that they are', () => {
    expect(encodeUsage({ promptTokens: 3, completionTokens: 2, estimated: true })).toEqual({
      prompt_tokens: 3,
      completion_tokens: 2,
      total_tokens: 5,
      estimated: true,
    });
  });

  test('a vector in base64 is little-endian float32, four padded bytes a dimension', () => {
    const { data } = encodeEmbeddings('m', [[1, -0.5, 1e-40]], {}, 'base64');
    const bytes = Buffer.from(String(data[0]?.embedding), 'base64');
    expect(bytes).toHaveLength(12);
    expect([bytes.readFloatLE(0), bytes.readFloatLE(4)]).toEqual([1, -0.5]);
  });

  test('a model belongs to its namespace, or to the library', () => {
    expect(encodeModel({ id: 'hf.co/acme/bot:1b', capabilities: [] })).toMatchObject({
      owned_by: 'hf.co/acme',
      created: 0,
    });
    expect(encodeModel({ id: 'bot:1b', capabilities: [], modifiedAt: new Date(5999) })).toMatchObject({
      owned_by: 'library',
      created: 5,
    });
  });
});
