import { describe, expect, test } from '@jest/globals';
import type { Asker } from '../../../src/core/ports.ts';
import { createTurns } from '../../../src/storage/turns.ts';

const asker = (keyId = 'key'): Asker & { leave(): void } => {
  const leaving = new AbortController();
  return { keyId, signal: leaving.signal, leave: () => leaving.abort(new Error('left')) };
};

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
  test('run so much at once and the rest of a key in the order in which it came', async () => {
    const { begun, endings, job } = createJobs();
    const inTurn = createTurns(2, 100);
    const results = ['a', 'b', 'c', 'd'].map((name) => inTurn(asker(), job(name)));
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

  test('go round among the keys, however much one of them wants', async () => {
    const { begun, endings, job } = createJobs();
    const inTurn = createTurns(1, 100);
    const names = ['a1', 'a2', 'a3', 'a4', 'b1', 'c1', 'b2'];
    const results = names.map((name) => inTurn(asker(name[0]), job(name)));
    for (let count = 0; count < names.length; count++) {
      await settled();
      endings.get(begun.at(-1) ?? '')?.resolve('');
    }
    await Promise.all(results);
    expect(begun).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4']);
  });

  test('come round after a failure, which only its own caller sees', async () => {
    const { begun, endings, job } = createJobs();
    const inTurn = createTurns(1, 100);
    const failing = inTurn(asker(), job('a'));
    const throwing = inTurn(asker(), () => {
      throw new Error('at once');
    });
    const next = inTurn(asker(), job('b'));
    endings.get('a')?.reject(new Error('later'));
    await expect(failing).rejects.toThrow('later');
    await expect(throwing).rejects.toThrow('at once');
    await settled();
    expect(begun).toEqual(['a', 'b']);
    endings.get('b')?.resolve('b');
    expect(await next).toBe('b');
  });

  test('are not waited for by who has left, at once, and not taken by who had left before', async () => {
    const { begun, endings, job } = createJobs();
    const inTurn = createTurns(1, 100);
    const first = inTurn(asker(), job('a'));
    const [leaver, gone] = [asker(), asker()];
    const left = inTurn(leaver, job('b'));
    const stays = inTurn(asker(), job('c'));
    gone.leave();
    leaver.leave();
    await expect(left).rejects.toThrow('left');
    endings.get('a')?.resolve('a');
    await first;
    await settled();
    expect(begun).toEqual(['a', 'c']);
    endings.get('c')?.resolve('c');
    await stays;
    await expect(inTurn(gone, job('d'))).rejects.toThrow('left');
    expect(begun).toEqual(['a', 'c']);
    expect(await inTurn(asker(), async () => 'e')).toBe('e');
  });

  test('are waited for by so many of one key and no more; of another key there may be as many', async () => {
    const { begun, endings, job } = createJobs();
    const inTurn = createTurns(1, 2);
    const results = ['a1', 'a2', 'a3'].map((name) => inTurn(asker('a'), job(name)));
    await expect(inTurn(asker('a'), job('a4'))).rejects.toMatchObject({
      code: 'storage_unavailable',
      retryAfterMs: expect.any(Number),
    });
    results.push(inTurn(asker('b'), job('b1')));
    for (let count = 0; count < 4; count++) {
      await settled();
      endings.get(begun.at(-1) ?? '')?.resolve('');
    }
    await Promise.all(results);
    expect(begun).toEqual(['a1', 'a2', 'b1', 'a3']);
  });

  test('are all free again when everything has ended', async () => {
    const inTurn = createTurns(2, 100);
    await Promise.all(['a', 'b', 'c'].map((name) => inTurn(asker(), async () => name)));
    const { begun, endings, job } = createJobs();
    const results = ['a', 'b', 'c'].map((name) => inTurn(asker(), job(name)));
    await settled();
    expect(begun).toEqual(['a', 'b']);
    for (const name of ['a', 'b']) endings.get(name)?.resolve(name);
    await settled();
    endings.get('c')?.resolve('c');
    await Promise.all(results);
  });
});
