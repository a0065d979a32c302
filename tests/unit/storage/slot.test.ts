import { expect, test } from '@jest/globals';
import { slotOf } from '../../../src/storage/slot.ts';

test('a slot is the one that Redis Cluster has for the key', () => {
  // The first is the check value of the specification, the others are what `CLUSTER KEYSLOT` answers.
  expect(slotOf('123456789')).toBe(0x31c3);
  expect(slotOf('llmgw:usage')).toBe(3215);
  expect(slotOf('schlüssel')).toBe(7677);
  expect(slotOf('')).toBe(0);
});
