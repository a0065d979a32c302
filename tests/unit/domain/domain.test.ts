import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ERRORS, type ErrorCode, GatewayError, toGatewayError } from '../../../src/domain/error.ts';
import { assertGrammar, type ChatEvent } from '../../../src/domain/event.ts';
import { createId, createIds } from '../../../src/domain/id.ts';
import { isUnlimited, type Limits } from '../../../src/domain/limit.ts';
import { canonicalModelName, isModelAllowed } from '../../../src/domain/model.ts';
import { foldChat } from '../../../src/domain/result.ts';
import { findModel, rankBackends, servedModels } from '../../../src/domain/routing.ts';
import { sumUsage, totalTokens } from '../../../src/domain/usage.ts';
import { backend, content, finished, model, started } from '../../support/pipeline.ts';

describe('the grammar of a chat stream', () => {
  const queued: ChatEvent = { type: 'queued', position: 0 };
  const loading: ChatEvent = { type: 'loading', model: 'm' };
  test.each([
    ['the shortest', [started(), finished()]],
    ['everything', [queued, queued, loading, started(), content('a'), content('b'), finished()]],
  ])('accepts %s', (_, events) => {
    expect(() => assertGrammar(events)).not.toThrow();
  });
  test.each([
    ['nothing at all', []],
    ['no end', [started(), content('a')]],
    ['two ends', [started(), finished(), finished()]],
    ['content after the end', [started(), finished(), content('a')]],
    ['content before the start', [content('a'), finished()]],
    ['an end without a start', [finished()]],
    ['two starts', [started(), started(), finished()]],
    ['loading twice', [loading, loading, started(), finished()]],
    ['waiting after the start', [started(), queued, finished()]],
  ])('refuses %s', (_, events) => {
    expect(() => assertGrammar(events)).toThrow();
  });
});

test.each<readonly [Limits, boolean]>([
  [{}, true],
  [{ requestsPerMinute: 0 }, false],
  [{ tokensPerMinute: 1 }, false],
  [{ concurrentRequests: 1 }, false],
])('a key with the limits %j is unlimited: %j', (limits, unlimited) => {
  expect(isUnlimited(limits)).toBe(unlimited);
});

describe('model names', () => {
  test.each([
    ['llama3.1', 'llama3.1:latest'],
    ['LLAMA3.1:8B', 'llama3.1:8b'],
    ['library/mistral:7b', 'mistral:7b'],
    ['registry.ollama.ai/library/phi3:mini', 'phi3:mini'],
    ['hf.co/Someone/Model', 'hf.co/someone/model:latest'],
    ['localhost:5000/team/model', 'localhost:5000/team/model:latest'],
  ])('%s means %s', (name, canonical) => {
    expect(canonicalModelName(name)).toBe(canonical);
  });

  test.each([
    [[], 'anything:1b', true],
    [['llama3.1:*'], 'llama3.1:8b', true],
    [['llama3.1:*'], 'llama3.2:1b', false],
    [['mistral'], 'mistral:latest', true],
    [['mistral'], 'mistral:7b', false],
    [['*'], 'x', true],
    [['*:7b', 'phi3:mini'], 'PHI3:MINI', true],
    [['a*b*c'], 'axxbxxd', false],
    [['llama3?1:8b'], 'llama3.1:8b', false],
  ])('the allow-list %j and %s: %j', (globs, name, allowed) => {
    expect(isModelAllowed(globs, name)).toBe(allowed);
  });

  test('no glob can be made slow', () => {
    const glob = `${'*a'.repeat(500)}b`;
    expect(isModelAllowed([glob], 'a'.repeat(20_000))).toBe(false);
  });

  test('a glob matches exactly what its regular expression would', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.', ':'), maxLength: 8 });
    const names = fc.string({ unit: fc.constantFrom('a', 'b', '.', ':'), maxLength: 8 });
    fc.assert(
      fc.property(letters, names, (glob, name) => {
        fc.pre(glob.includes('*'));
        const expression = glob
          .split('*')
          .map((part) => part.replace(/[.]/g, '\\.'))
          .join('.*');
        const expected = new RegExp(`^${expression}$`).test(canonicalModelName(name));
        expect(isModelAllowed([glob], name)).toBe(expected);
      }),
    );
  });
});

describe('routing', () => {
  const order = (turn: number, ...list: Parameters<typeof rankBackends>[1]) =>
    rankBackends('llama3.1:8b', list, turn).map((one) => one.id);

  test('prefers fewest in flight, then takes turns', () => {
    expect(order(0, backend('busy', { inFlight: 2 }), backend('idle'))).toEqual(['idle', 'busy']);
    expect([0, 1, 2].map((turn) => order(turn, backend('a'), backend('b'))[0])).toEqual(['a', 'b', 'a']);
  });

  test('prefers a copy in memory until it has four more requests to work on than one to be loaded', () => {
    const cold = backend('cold', { inFlight: 1, loaded: new Set() });
    expect(order(0, cold, backend('warm', { inFlight: 4 }))).toEqual(['warm', 'cold']);
    expect(order(0, cold, backend('warm', { inFlight: 6 }))).toEqual(['cold', 'warm']);
    expect([0, 1].map((turn) => order(turn, cold, backend('warm', { inFlight: 5 }))[0])).toEqual([
      'cold',
      'warm',
    ]);
  });

  test('leaves out the unhealthy and those without the model', () => {
    const list = [
      backend('down', { healthy: false }),
      backend('bare', { models: new Map() }),
      backend('good'),
    ];
    expect(rankBackends('llama3.1:8b', list, 5).map((one) => one.id)).toEqual(['good']);
    expect([...servedModels(list).keys()]).toEqual(['llama3.1:8b']);
  });

  test('a model known only to a backend that is away is still known', () => {
    expect(findModel('llama3.1:8B', [backend('down', { healthy: false })])?.id).toBe('llama3.1:8b');
    expect(findModel('other', [backend('a')])).toBeUndefined();
    const mixed = { models: new Map([['X:latest', model('X:latest')]]) };
    expect(findModel('x', [backend('a', mixed)])?.id).toBe('X:latest');
  });

  test('a model is found where it is healthy, by what each backend has now', () => {
    const has = (...ids: string[]) => ({ models: new Map(ids.map((id) => [id, model(id)])) });
    const away = backend('away', { healthy: false, ...has('m:latest') });
    expect(findModel('m', [away, backend('b', has('other', 'M:latest', 'm:latest'))])?.id).toBe('M:latest');
    expect(findModel('m', [away, backend('b', has('other'))])?.id).toBe('m:latest');
    // The same backend after it has been looked at again.
    expect(findModel('m', [backend('b', has('other'))])).toBeUndefined();
    expect(findModel('m', [backend('b', has('other', 'm'))])?.id).toBe('m');
  });
});

describe('usage', () => {
  test('a count nobody gave stays unknown, in sums too', () => {
    expect(sumUsage([{ promptTokens: 1 }, { promptTokens: 2, completionTokens: 0 }])).toEqual({
      promptTokens: 3,
      completionTokens: 0,
    });
    expect(sumUsage([{}, {}])).toEqual({});
    expect(totalTokens({})).toBeUndefined();
    expect(totalTokens({ completionTokens: 0 })).toBe(0);
  });
});

describe('folding', () => {
  test('gives the whole answer of a stream', async () => {
    const call: ChatEvent = { type: 'toolCall', choice: 0, index: 0, id: 'c', name: 'f', arguments: '{}' };
    async function* stream() {
      yield [started(), { type: 'reasoning', choice: 0, text: 'hm' } as const, content('a')];
      yield [content('b'), call, finished()];
    }
    expect(await foldChat(stream())).toMatchObject({
      backend: 'ollama-1',
      choices: [{ text: 'ab', reasoning: 'hm', toolCalls: [{ id: 'c', name: 'f', arguments: '{}' }] }],
      usage: { promptTokens: 5, completionTokens: 2 },
    });
  });

  test('keeps every token of a long answer, in order', async () => {
    const tokens = Array.from({ length: 5000 }, (_, n) => `${n} `);
    async function* stream() {
      yield [started()];
      for (const token of tokens) yield [content(token)];
      yield [finished()];
    }
    expect((await foldChat(stream())).choices[0]?.text).toBe(tokens.join(''));
  });

  test('does not take a stream that merely ended for an answer', async () => {
    async function* stream() {
      yield [started(), content('a')];
    }
    await expect(foldChat(stream())).rejects.toThrow();
  });
});

describe('errors', () => {
  test('carry the owner and retryability of their code', () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      expect(new GatewayError(code, 'x')).toMatchObject(ERRORS[code]);
    }
  });

  test('of other kinds are masked, with their name and place kept for the log', () => {
    const masked = toGatewayError(new TypeError('inner'));
    expect(masked.code).toBe('internal');
    expect(masked.detail).toMatch(/^TypeError at .*domain\.test/);
    expect(`${masked.message} ${masked.detail}`).not.toContain('inner');
    expect(toGatewayError('a string').message).not.toContain('a string');
    const known = new GatewayError('rate_limited', 'x');
    expect(toGatewayError(known)).toBe(known);
  });
});

test('ids carry their prefix and 144 random bits', () => {
  const bytes = (count: number) => Uint8Array.from({ length: count }, (_, index) => index * 11);
  expect(createId('req_', bytes)).toMatch(/^req_[0-9A-Za-z_-]{24}$/);
});

test('ids that are drawn many at a time are as long, and none is given twice', () => {
  let last = 0;
  let draws = 0;
  const next = createIds('req_', (count) => {
    draws++;
    return Uint8Array.from({ length: count }, () => ++last);
  });
  const given = Array.from({ length: 100 }, next);
  expect(new Set(given).size).toBe(100);
  for (const id of given) expect(id).toMatch(/^req_[0-9A-Za-z_-]{24}$/);
  expect(draws).toBeLessThan(10);
});
