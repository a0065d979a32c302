import { describe, expect, test } from '@jest/globals';
import { createTurns } from '../../../src/storage/turns.ts';

/** Work that ends when it is told to. */
function createJobs() {
  const begun: string[] = [];
  const endings = new Map<string, PromiseWithResolvers<string>>();
  return {
    begun,
    endings,
    job: (name: string) => () => {
      begun.push(name);
      const ending = Promise.withResolvers<string>();
      endings.set(name, ending);
      return ending.promise;
    },
  };
}

/** Long enough for every reaction to what has settled. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('turns', () => {
  test('run so much at once and the rest in the order in which it came', async () => {
    const { begun, endings, job } = createJobs();
    const inTurn = createTurns(2);
    const results = ['a', 'b', 'c', 'd'].map((name) => inTurn(job(name)));
    await settled();
    expect(begun).toEqual(['a', 'b']);
    endings.get('b')?.resolve('b');
    await settled();
    expect(begun).toEqual(['a', 'b', 'c']);
    endings.get('c')?.resolve('c');
    endings.get('a')?.resolve('a');
    await settled();
    endings.get('d')?.resolve('d');
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c', 'd']);
  });

  test('come round after a failure, which only its own caller sees', async () => {
    const { begun, endings, job } = createJobs();
    const inTurn = createTurns(1);
    const failing = inTurn(job('a'));
    const throwing = inTurn(() => {
      throw new Error('at once');
    });
    const next = inTurn(job('b'));
    endings.get('a')?.reject(new Error('later'));
    await expect(failing).rejects.toThrow('later');
    await expect(throwing).rejects.toThrow('at once');
    await settled();
    expect(begun).toEqual(['a', 'b']);
    endings.get('b')?.resolve('b');
    expect(await next).toBe('b');
  });

  test('are all free again when everything has ended', async () => {
    const inTurn = createTurns(2);
    await Promise.all(['a', 'b', 'c'].map((name) => inTurn(async () => name)));
    const { begun, endings, job } = createJobs();
    const results = ['a', 'b', 'c'].map((name) => inTurn(job(name)));
    await settled();
    expect(begun).toEqual(['a', 'b']);
    for (const name of ['a', 'b']) endings.get(name)?.resolve(name);
    await settled();
    endings.get('c')?.resolve('c');
    await Promise.all(results);
  });
});
