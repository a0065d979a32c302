import { expect, test } from '@jest/globals';
import { LineSplitter } from '../../../src/providers/ollama/lines.ts';

function split(pieces: readonly string[], maxBytes?: number): string[] {
  const lines: string[] = [];
  const splitter = new LineSplitter(maxBytes);
  for (const piece of pieces) {
    // Other bytes around them, newlines too, are none of its business.
    const bytes = Buffer.from(`\nx${piece}\n`, 'latin1');
    splitter.push(bytes, 2, bytes.length - 1, (line) => lines.push(line) > 0);
  }
  return [...lines, splitter.rest()];
}

test('a character cut in two is whole again', () => {
  const bytes = Buffer.from('🦙é\n').toString('latin1');
  expect(split([...bytes])).toEqual(['🦙é', '']);
});

test('a line of the greatest length passes, and one byte more does not, in one piece or byte by byte', () => {
  const longest = 'x'.repeat(5000);
  expect(split([`${longest}\n`], 5000)).toEqual([longest, '']);
  expect(split([...longest, '\n'], 5000)).toEqual([longest, '']);
  for (const pieces of [[`${longest}x\n`], [`${longest}x`], [...longest, 'x']]) {
    expect(() => split(pieces, 5000)).toThrow(expect.objectContaining({ code: 'upstream_incomplete' }));
  }
});

test('what is held is completed by the first of several lines, and the last piece of them is held again', () => {
  expect(split(['a', '', 'b\nc\n\nd', 'e\n', 'f'])).toEqual(['ab', 'c', '', 'de', 'f']);
});

test('no bytes are no line, whatever is around them', () => {
  const seen: string[] = [];
  const splitter = new LineSplitter();
  splitter.push(Buffer.from('a\n'), 0, 0, (line) => seen.push(line) > 0);
  expect([...seen, splitter.rest()]).toEqual(['']);
});

test('reading stops when the reader has enough', () => {
  const seen: string[] = [];
  new LineSplitter().push(Buffer.from('a\nb\nc\n'), 0, 6, (line) => seen.push(line) < 2);
  expect(seen).toEqual(['a', 'b']);
});
