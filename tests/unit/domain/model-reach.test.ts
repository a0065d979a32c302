import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { coversModels, isModelAllowed } from '../../../src/domain/model.ts';

describe('whether one list of models covers another', () => {
  test.each<[readonly string[], readonly string[], boolean]>([
    [[], [], true],
    [[], ['llama3*'], true],
    [['llama3*'], [], false],
    [['*'], [], false],
    [['*'], ['*'], true],
    [['*'], ['llama3*', 'qwen3:8b'], true],
    [['llama3*'], ['llama3*'], true],
    [['llama3*'], ['llama3.1:*', 'LLAMA3.2:1b'], true],
    [['llama3*'], ['llama*'], false],
    [['llama3*'], ['llama3*', 'qwen3:8b'], false],
    [['llama3', 'qwen3:8b'], ['llama3:latest', 'library/qwen3:8b'], true],
    [['llama3'], ['llama3:8b'], false],
    [['llama3'], ['llama3*'], false],
    [['*:latest'], ['llama3'], true],
    [['*:latest'], ['llama3*'], false],
    [['l*3'], ['l*3'], true],
  ])('%j covers %j: %s', (globs, others, covered) => {
    expect(coversModels(globs, others)).toBe(covered);
  });

  test('what is covered allows no model that is not allowed anyway', () => {
    const text = (letters: readonly string[]) =>
      fc.string({ unit: fc.constantFrom(...letters), minLength: 1, maxLength: 6 });
    const globs = fc.array(text(['a', 'b', ':', '*']), { maxLength: 3 });
    let allowed = 0;
    fc.assert(
      fc.property(globs, globs, text(['a', 'b', ':']), (own, granted, model) => {
        fc.pre(coversModels(own, granted) && isModelAllowed(granted, model));
        allowed += own.length > 0 ? 1 : 0;
        expect(isModelAllowed(own, model)).toBe(true);
      }),
      { numRuns: 1000, seed: 7 },
    );
    expect(allowed).toBeGreaterThan(50);
  });
});
