import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ByLabels } from '../../../src/telemetry/by-labels.ts';

const label = fc.constantFrom('', 'a', 'b', 'a\0b', '__proto__');

test('there is one for each combination of labels, made once, in the order in which they were asked for', () => {
  const arity = fc.integer({ min: 0, max: 3 });
  const asked = arity.chain((size) => fc.array(fc.array(label, { minLength: size, maxLength: size })));
  fc.assert(
    fc.property(asked, (combinations) => {
      const all = new ByLabels((values) => ({ values }));
      for (const values of combinations) expect(all.of(values).values).toEqual(values);
      const first = combinations.filter(
        (values, at) => combinations.findIndex((other) => isEqual(other, values)) === at,
      );
      expect([...all].map(({ values }) => values)).toEqual(first);
    }),
  );
});

function isEqual(one: readonly string[], other: readonly string[]): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
