import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type Excess,
  findExcess,
  type JsonBounds,
  JsonScan,
  MAX_JSON_DEPTH,
  MAX_JSON_VALUES,
} from '../../../src/http/json-bounds.ts';

const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value));
const excessOf = (value: unknown, bounds?: JsonBounds) => findExcess(bytesOf(value), bounds)?.sentence;

function nested(depth: number): object {
  let value: object = {};
  for (let level = 1; level < depth; level++) value = level % 2 ? [value] : { a: value };
  return value;
}

describe('the extent of JSON', () => {
  test('its depth is counted exactly', () => {
    expect(excessOf(nested(MAX_JSON_DEPTH))).toBeUndefined();
    expect(excessOf(nested(MAX_JSON_DEPTH + 1))).toMatch(/deeper than 100 levels/);
    expect(excessOf(nested(3), { depth: 3 })).toBeUndefined();
    expect(excessOf(nested(4), { depth: 3 })).toMatch(/deeper than 3 levels/);
  });

  test('and so are its values, at whatever level they stand', () => {
    const list = new Array(MAX_JSON_VALUES - 2).fill(0);
    expect(excessOf({ a: { b: list } })).toBeUndefined();
    expect(excessOf({ a: { b: [...list, 0] } })).toMatch(/more than 100000 values/);
  });

  test('and its different names, however often each comes up', () => {
    const bounds = { names: { count: 3, bytes: 10 } };
    expect(
      excessOf(
        [
          { a: 1, b: { a: [{ c: 1 }, { c: 2 }] } },
          { b: 'd', c: ':' },
        ],
        bounds,
      ),
    ).toBeUndefined();
    expect(excessOf({ a: 1, b: [{ a: [{ c: 1 }, { d: 2 }] }] }, bounds)).toMatch(
      /more than 3 different names/,
    );
    expect(excessOf({ a: 1, b: [{ a: [{ c: 1 }, { d: 2 }] }] })).toBeUndefined();
  });

  test('thousands of names are told apart', () => {
    const names = Array.from({ length: 2000 }, (_, index) => [`name${index}`, index]);
    expect(excessOf(Object.fromEntries(names), { names: { count: 2000, bytes: 10 } })).toBeUndefined();
    expect(excessOf(Object.fromEntries(names), { names: { count: 1999, bytes: 10 } })).toMatch(/1999/);
  });

  test('and the bytes of a name, wherever it stands, but not of other texts', () => {
    const bounds = { names: { count: 10, bytes: 4 } };
    expect(excessOf([{ a: { ü12: '12345' } }], bounds)).toBeUndefined();
    expect(excessOf([{ a: { ü123: 1 } }], bounds)).toMatch(/name longer than 4 bytes/);
    expect(findExcess(Buffer.from('{"12345" \n\t: 1}'), bounds)?.bound).toBe('names');
  });

  test('and the bytes of a text that is not nested deeper than a level, closed or not', () => {
    const bounds = { text: { level: 2, bytes: 4 } };
    expect(excessOf({ a: '1234', b: ['1234', ['12345']] }, bounds)).toBeUndefined();
    for (const value of ['12345', { a: '12345' }, { a: ['12345'] }, { a: { '12345': 1 } }, [[[]], '12345']]) {
      expect(excessOf(value, bounds)).toMatch(/text longer than 4 bytes/);
    }
    // As it is written.
    expect(excessOf('\n\n', bounds)).toBeUndefined();
    expect(excessOf('\n\n\n', bounds)).toMatch(/longer/);
    expect(findExcess(Buffer.from('{"a":"12345'), bounds)?.bound).toBe('text');
  });

  test('what stands in strings does not count, however it is escaped', () => {
    const text = `${'[{'.repeat(200)},,,"\\"\\\\`;
    const bounds = { names: { count: 2, bytes: 1000 } };
    expect(excessOf({ [text]: text, after: nested(50) })).toBeUndefined();
    expect(excessOf({ [text]: `${text}"a":1,"b":1`, after: 1 }, bounds)).toBeUndefined();
    expect(excessOf({ [text]: text, after: nested(100) })).toMatch(/deeper/);
  });

  test('no JSON within the bounds is refused, whatever is in it', () => {
    const bounds = { names: { count: 1000, bytes: 1000 }, text: { level: 9, bytes: 1000 } };
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), (json) => {
        expect(findExcess(Buffer.from(json), bounds)).toBeUndefined();
      }),
    );
  });

  test('it is the same in however many pieces the bytes come', () => {
    const bounds = { depth: 3, names: { count: 3, bytes: 5 }, text: { level: 1, bytes: 8 } };
    const strings = fc.stringMatching(/^[a-b"\\]{0,9}$/);
    const json = fc.json({ maxDepth: 4, stringUnit: fc.constantFrom('a', 'b', '"', '\\', '\n') });
    fc.assert(
      fc.property(fc.oneof(json, strings), fc.array(fc.nat(60)), (text, cuts) => {
        const bytes = Buffer.from(text);
        const scan = new JsonScan(bounds);
        let found: Excess | undefined;
        let from = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), bytes.length]) {
          found ??= scan.add(bytes.subarray(from, cut));
          from = Math.max(from, cut);
        }
        expect(found).toEqual(findExcess(bytes, bounds));
      }),
      { numRuns: 3000 },
    );
  });

  test('bytes that are not JSON end, one way or the other', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        findExcess(bytes, { names: { count: 2, bytes: 2 }, text: { level: 1, bytes: 2 } });
      }),
    );
    expect(findExcess(Buffer.from('"\\'))).toBeUndefined();
    expect(findExcess(Buffer.from(']]]]{'))).toBeUndefined();
    expect(findExcess(Buffer.from('::::'), { names: { count: 1, bytes: 1 } })).toBeUndefined();
  });

  test('megabytes of brackets are refused without being read', () => {
    const bytes = Buffer.alloc(20 * 1024 * 1024, '[');
    const untouched = new Proxy(bytes, {
      get: (target, key) => {
        if (Number(key) > 1000) throw new Error('read further than needed');
        return Reflect.get(target, key);
      },
    });
    expect(findExcess(untouched)?.bound).toBe('depth');
  });
});
