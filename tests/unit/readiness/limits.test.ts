import { describe, expect, test } from '@jest/globals';
import {
  agrees,
  chooseWitness,
  type Limit,
  type Look,
  showsRequest,
} from '../../../scripts/readiness/limits.ts';

/** What one replica says, so many milliseconds after the first. */
function look(
  at: number,
  out: Partial<Record<Limit, number>>,
  bounds: Partial<Record<Limit, number>> = {},
): Look {
  return {
    isDegraded: false,
    at,
    bounds: new Map(Object.entries(bounds) as [Limit, number][]),
    out: { concurrency: 0, tokens: 0, requests: 0, ...out },
  };
}

const witnessOf = (bounds: Partial<Record<Limit, number>>) => {
  const witness = chooseWitness(look(0, {}, bounds));
  if (!witness) throw new Error('nothing shows a request');
  return witness;
};

describe('the limit that shows a request', () => {
  test('is that on concurrent requests, which shows it for as long as it runs', () => {
    expect(witnessOf({ requests: 60, tokens: 10_000, concurrency: 5 }).limit).toBe('concurrency');
  });

  test('or that on tokens, a quarter of which it holds', () => {
    expect(witnessOf({ requests: 60, tokens: 10_000 })).toEqual({
      limit: 'tokens',
      maxTokens: 2500,
      takes: 15_000,
    });
  });

  test('or that on requests, where one does not come back too soon', () => {
    expect(witnessOf({ requests: 60 })).toMatchObject({ limit: 'requests', takes: 1000 });
    expect(chooseWitness(look(0, {}, { requests: 600 }))).toBeUndefined();
  });

  test('is none for a key without limits, or with such as nothing passes', () => {
    expect(chooseWitness(look(0, {}))).toBeUndefined();
    expect(chooseWitness(look(0, {}, { concurrency: 0, tokens: 0, requests: 0 }))).toBeUndefined();
  });
});

describe('a running request', () => {
  const requests = witnessOf({ requests: 60 });

  test('shows as soon as more is out than what is left of before', () => {
    const earlier = look(0, { requests: 800 });
    expect(showsRequest(requests, look(100, { requests: 700 }), earlier)).toBe(false);
    expect(showsRequest(requests, look(100, { requests: 1700 }), earlier)).toBe(true);
    expect(showsRequest(requests, look(5000, { requests: 1000 }), earlier)).toBe(true);
    expect(showsRequest(witnessOf({ concurrency: 5 }), look(0, { concurrency: 1 }), earlier)).toBe(true);
  });

  test('is counted by replicas that share, which agree but for what has come back since', () => {
    const first = look(1000, { requests: 1000 });
    expect(agrees(requests, look(1200, { requests: 810 }), first)).toBe(true);
    expect(agrees(requests, look(1200, { requests: 2800 }), first)).toBe(true);
  });

  test('is missing where a replica counts for itself', () => {
    const first = look(1000, { requests: 1000, concurrency: 1 });
    expect(agrees(requests, look(1200, { requests: 0 }), first)).toBe(false);
    expect(agrees(witnessOf({ concurrency: 5 }), look(1200, { concurrency: 0 }), first)).toBe(false);
  });

  test('can no longer be told once it may have come back', () => {
    const first = look(1000, { requests: 1000 });
    expect(agrees(requests, look(1900, { requests: 0 }), first)).toBeUndefined();
  });
});
