import { describe, expect, test } from '@jest/globals';
import { Bag } from '../../../src/domain/bag.ts';
import { keptOf } from '../../support/kept.ts';

describe('a bag', () => {
  test('has what was added and not taken out again', () => {
    const bag = new Bag<string>();
    for (const member of ['a', 'b', 'c', 'd']) bag.add(member);
    expect(bag.delete('b')).toBe(true);
    expect(bag.delete('d')).toBe(true);
    expect(bag.delete('b')).toBe(false);
    expect(bag.size).toBe(2);
    expect([...bag].sort()).toEqual(['a', 'c']);
    bag.clear();
    expect([bag.size, ...bag]).toEqual([0]);
  });

  test('shows who is in it when one begins to look, whoever comes and goes meanwhile', () => {
    const bag = new Bag<number>();
    for (const member of [1, 2, 3]) bag.add(member);
    const seen: number[] = [];
    for (const member of bag) {
      seen.push(member);
      bag.delete(member);
      bag.add(member + 10);
    }
    expect(seen).toEqual([1, 2, 3]);
    expect([...bag].sort()).toEqual([11, 12, 13]);
  });

  test('keeps nobody who has left from being collected with the young objects', async () => {
    expect(await keptOf({ module: 'domain/bag.ts', group: 'new loaded.Bag()' })).toBeLessThan(0.1);
  });
});
