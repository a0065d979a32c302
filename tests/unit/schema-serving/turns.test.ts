import { setImmediate as turnOfLoop } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { createTurns } from '../../../src/schema/serving/turns.ts';

test('each caller goes on in a turn of the event loop of its own, in the order of the calls', async () => {
  const turn = createTurns();
  const gone: number[] = [];
  const all = Array.from({ length: 5 }, (_, index) => turn().then(() => gone.push(index)));
  const perTurn: number[] = [];
  for (let before = 0; gone.length < 5; before = gone.length) {
    await turnOfLoop();
    perTurn.push(gone.length - before);
  }
  await Promise.all(all);
  expect(gone).toEqual([0, 1, 2, 3, 4]);
  expect(Math.max(...perTurn)).toBe(1);
});
