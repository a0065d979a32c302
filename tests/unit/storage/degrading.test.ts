import { expect, test } from '@jest/globals';
import { systemClock as clock } from '../../../src/clock.ts';
import type { Limiter } from '../../../src/core/ports.ts';
import type { Claim } from '../../../src/domain/limit.ts';
import { createDegradingLimiter } from '../../../src/storage/degrading.ts';
import { createMemoryLimiter } from '../../../src/storage/memory.ts';

/** In front of a shared store that goes away with the first claims in its hands, which it may have carried out. */
function createLimiter(overrides: Partial<Limiter> = {}) {
  const settled: (readonly [id: string, tokens: number])[] = [];
  let up = true;
  const away = () => Promise.reject(new Error('no answer'));
  const shared: Limiter = {
    claim: away,
    renew: away,
    peek: away,
    async settle({ id }, tokens) {
      settled.push([id, tokens]);
    },
    ...overrides,
  };
  const limiter = createDegradingLimiter({
    shared,
    local: createMemoryLimiter(clock, 'degraded'),
    watchOf: () => ({
      isUp: () => up,
      failed() {
        up = false;
      },
      check: async () => undefined,
      close: () => undefined,
    }),
    replicas: 1,
    clock,
  });
  const claim: Claim = { id: 'lost', keyId: 'key', limits: { concurrentRequests: 1 }, tokens: 5 };
  const comeBack = () => {
    up = true;
    limiter.catchUp();
  };
  return { limiter, claim, settled, comeBack, isUp: () => up };
}

test('a claim that the store may have carried out, and this replica refused, gives back there what it may hold', async () => {
  const { limiter, claim, settled, comeBack } = createLimiter();
  const claims = [claim, { ...claim, id: 'refused' }];
  const decisions = await Promise.all(claims.map((one) => limiter.claim(one)));
  expect(decisions.map(({ admitted }) => admitted)).toEqual([true, false]);
  comeBack();
  expect(settled).toEqual([['refused', 0]]);
});

test('a claim that the store may have carried out, and this replica admitted, is settled there once it is back', async () => {
  const { limiter, claim, settled, comeBack } = createLimiter();
  expect((await limiter.claim(claim)).admitted).toBe(true);
  await limiter.settle(claim, 3);
  expect(settled).toEqual([]);
  comeBack();
  expect(settled).toEqual([['lost', 3]]);
});

test('a claim that the store has never heard of is nothing to it', async () => {
  const { limiter, claim, settled, comeBack } = createLimiter();
  await limiter.claim(claim);
  const second = { ...claim, id: 'second' };
  expect((await limiter.claim(second)).admitted).toBe(false);
  await limiter.settle(claim, 3);
  comeBack();
  expect(settled).toEqual([['lost', 3]]);
});

test('a settlement alone can find the store away: it is made up for, and the next claims do not wait for the store', async () => {
  let away = true;
  const settled: string[] = [];
  const { limiter, claim, comeBack, isUp } = createLimiter({
    claim: async () => ({ admitted: true, state: { mode: 'exact' } }),
    async settle({ id }) {
      if (away) throw new Error('no answer');
      settled.push(id);
    },
  });
  await limiter.claim(claim);
  await limiter.settle(claim, 3);
  expect(isUp()).toBe(false);
  away = false;
  comeBack();
  expect(settled).toEqual(['lost']);
});
