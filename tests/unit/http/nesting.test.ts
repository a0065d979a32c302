import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { findExcess, MAX_JSON_DEPTH, MAX_JSON_VALUES } from '../../../src/http/nesting.ts';

const excessOf = (value: unknown, depth?: number) => findExcess(Buffer.from(JSON.stringify(value)), depth);

function nested(depth: number): object {
  let value: object = {};
  for (let level = 1; level < depth; level++) value = level % 2 ? [value] : { a: value };
  return value;
}

describe('the extent of JSON', () => {
  test('its depth is counted exactly', () => {
    expect(excessOf(nested(MAX_JSON_DEPTH))).toBeUndefined();
    expect(excessOf(nested(MAX_JSON_DEPTH + 1))).toMatch(/deeper than 100 levels/);
    expect(excessOf(nested(3), 3)).toBeUndefined();
    expect(excessOf(nested(4), 3)).toMatch(/deeper than 3 levels/);
  });

  test('and so are its values, at whatever level they stand', () => {
    const list = new Array(MAX_JSON_VALUES - 2).fill(0);
    expect(excessOf({ a: { b: list } })).toBeUndefined();
    expect(excessOf({ a: { b: [...list, 0] } })).toMatch(/more than 100000 values/);
  });

  test('what stands in strings does not count, however it is escaped', () => {
    const text = `${'[{'.repeat(200)},,,"\\"\\\\`;
    expect(excessOf({ [text]: text, after: nested(50) })).toBeUndefined();
    expect(excessOf({ [text]: text, after: nested(100) })).toMatch(/deeper/);
  });

  test('no JSON within the bounds is refused, whatever is in it', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), (json) => {
        expect(findExcess(Buffer.from(json))).toBeUndefined();
      }),
    );
  });

  test('bytes that are not JSON end, one way or the other', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        findExcess(bytes);
      }),
    );
    expect(findExcess(Buffer.from('"\\'))).toBeUndefined();
    expect(findExcess(Buffer.from(']]]]{'))).toBeUndefined();
  });

  test('megabytes of brackets are refused without being read', () => {
    const bytes = Buffer.alloc(20 * 1024 * 1024, '[');
    const untouched = new Proxy(bytes, {
      get: (target, key) => {
        if (Number(key) > 1000) throw new Error('read further than needed');
        return Reflect.get(target, key);
      },
    });
    expect(findExcess(untouched)).toMatch(/deeper/);
  });
});
