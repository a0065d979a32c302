import { describe, expect, test } from '@jest/globals';
import { createSystemClock } from '../../src/clock.ts';

describe('the system clock', () => {
  test('follows a wall clock that has leapt ahead, as after a night’s sleep', async () => {
    let wall = 1_000_000;
    const clock = createSystemClock(() => wall);
    const before = clock.now();
    wall += 8 * 3_600_000;
    await new Promise<void>((resolve) => void clock.after(2, resolve));
    expect(clock.now() - before).toBeGreaterThanOrEqual(8 * 3_600_000 - 1000);
  });

  test('does not follow one that is put back', () => {
    let wall = 1_000_000;
    const clock = createSystemClock(() => wall);
    const before = clock.now();
    wall -= 3_600_000;
    expect(clock.now()).toBeGreaterThanOrEqual(before);
  });

  test('does nothing that was called off', async () => {
    const clock = createSystemClock();
    const done: string[] = [];
    const cancel = clock.after(1, () => done.push('called off'));
    cancel();
    await new Promise<void>((resolve) => void clock.after(5, resolve));
    expect(done).toEqual([]);
  });
});
