import { expect, test } from '@jest/globals';
import { Histogram, Registry } from 'prom-client';
import { createHistogram } from '../../../src/telemetry/histogram.ts';

const OPTIONS = { name: 'gap_seconds', help: 'Between two.', buckets: [0.001, 0.01, 1] };
const LABELS = ['model', 'kind'];

/** What the library makes of the same observations. */
async function expected(observations: readonly (readonly [model: string, kind: string, value: number])[]) {
  const registry = new Registry();
  const histogram = new Histogram({ ...OPTIONS, labelNames: LABELS, registers: [registry] });
  for (const [model, kind, value] of observations) histogram.labels(model, kind).observe(value);
  // The order of labels means nothing, nor does that of lines.
  return normalized(await registry.metrics());
}

function normalized(text: string): readonly string[] {
  return text
    .trim()
    .split('\n')
    .map((line) =>
      line.replace(
        /\{(.*)\}/,
        (_, labels: string) =>
          labels
            .match(/\w+="(?:[^"\\]|\\.)*"/g)
            ?.sort()
            .join() ?? '',
      ),
    )
    .sort();
}

test('a histogram is exposed as the library exposes one', async () => {
  const observations = [
    ['a', 'x', 0],
    ['a', 'x', 0.001],
    ['a', 'x', 0.0011],
    ['b', 'x', 1],
    ['b', 'x', 7],
    ['of "quotes", \\ and\nlines', 'y', 0.5],
  ] as const;
  const histogram = createHistogram({ ...OPTIONS, labels: LABELS });
  for (const [model, kind, value] of observations) histogram.of(model, kind)(value);
  expect(normalized(histogram.expose())).toEqual(await expected(observations));
});

test('what was never observed is not exposed', () => {
  const histogram = createHistogram({ ...OPTIONS, labels: LABELS });
  histogram.of('a', 'x');
  expect(histogram.expose()).toBe('# HELP gap_seconds Between two.\n# TYPE gap_seconds histogram\n');
});
