import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isoTime } from '../../../src/domain/time.ts';

test('a moment is written as Date writes it, whichever was written before', () => {
  const moment = fc.oneof(
    fc.integer({ min: -2, max: 2 }),
    fc.double({ min: -8.64e15, max: 8.64e15, noNaN: true }),
  );
  fc.assert(
    fc.property(fc.array(moment), (moments) => {
      for (const ms of moments) expect(isoTime(ms)).toBe(new Date(ms).toISOString());
    }),
  );
});

test('what is no moment is refused each time, and changes nothing', () => {
  for (const ms of [Number.NaN, Number.NaN, 9e15]) expect(() => isoTime(ms)).toThrow(RangeError);
  expect(isoTime(0)).toBe('1970-01-01T00:00:00.000Z');
  expect(() => isoTime(9e15)).toThrow(RangeError);
  expect(isoTime(0)).toBe('1970-01-01T00:00:00.000Z');
});
