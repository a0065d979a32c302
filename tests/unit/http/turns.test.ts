import { setImmediate as turnOfLoop } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { createTurns } from '../../../src/http/turns.ts';

test.each([
  { perTurn: 1, begun: [1, 1, 1, 1, 1] },
  { perTurn: 2, begun: [2, 2, 1] },
])('$perTurn at a time go on in a turn of the event loop, in the order of the calls', async (example) => {
  const takeTurn = createTurns(example.perTurn);
  const gone: number[] = [];
  for (let index = 0; index < 5; index++) takeTurn(() => gone.push(index));
  const begun: number[] = [];
  while (gone.length < 5) {
    const before = gone.length;
    await turnOfLoop();
    if (gone.length > before) begun.push(gone.length - before);
  }
  expect(gone).toEqual([0, 1, 2, 3, 4]);
  expect(begun).toEqual(example.begun);
});

test('who comes while others go on is not forgotten', async () => {
  const takeTurn = createTurns(1);
  await new Promise<void>((done) => takeTurn(() => takeTurn(done)));
  await new Promise<void>(takeTurn);
});
