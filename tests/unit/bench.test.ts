import { describe, expect, test } from '@jest/globals';
import { drawCharts } from '../../bench/chart.ts';
import { Collected, median, percentile } from '../../bench/figures.ts';
import { StampReader } from '../../bench/load/stamps.ts';
import { type Place, ratioOf, type Sample, summarize } from '../../bench/samples.ts';
import { judge, TARGETS } from '../../bench/targets.ts';
import { chunk, lastLines, stamp, tokenLine } from '../../bench/upstream/wire.ts';

describe('the arithmetic of the benchmark', () => {
  test('the median is the middle value, or the mean of the two in the middle, and no number where there is none', () => {
    expect(median([5, 1, 3])).toBe(3);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  test('a percentile is the smallest value that so many per cent are not above', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([50, 99, 100].map((percent) => percentile(hundred, percent))).toEqual([50, 99, 100]);
    expect(percentile([7], 1)).toBe(7);
    expect(percentile([], 50)).toBeNaN();
  });

  test('values are kept however many there are, and come back sorted', () => {
    const values = new Collected();
    for (let value = 5000; value > 0; value--) values.add(value);
    const sorted = values.sorted();
    expect([sorted.length, sorted[0], sorted[4999]]).toEqual([5000, 1, 5000]);
  });
});

describe('the stamps of tokens', () => {
  const times = [1, 123_456_789, 999_999_999_999_999];
  const lines = times.map((time) => tokenLine('openai', stamp(time))).join('') + lastLines('openai', 3);
  const bytes = Buffer.from(chunk(lines));

  test('are found wherever the bytes are cut', () => {
    for (let cut = 0; cut <= bytes.length; cut++) {
      const reader = new StampReader();
      const found: number[] = [];
      reader.read(bytes.subarray(0, cut), (time) => found.push(time));
      reader.read(bytes.subarray(cut), (time) => found.push(time));
      expect([cut, reader.count, found]).toEqual([cut, 3, times]);
    }
  });

  test('are found in bytes that come one by one', () => {
    const reader = new StampReader();
    const found: number[] = [];
    for (let at = 0; at < bytes.length; at++) {
      reader.read(bytes.subarray(at, at + 1), (time) => found.push(time));
    }
    expect(found).toEqual(times);
  });
});

describe('the results of the benchmark', () => {
  const place: Place = { workload: 'chat', variant: '64 connections', subject: 'gateway' };
  const sample = (subject: string, turn: number, requestsPerSecond: number, errors = {}): Sample => {
    return { ...place, subject, turn, metrics: { requestsPerSecond }, errors };
  };
  /** A machine that is four times as slow in the second turn, and twice as slow in the third. */
  const samples = [
    sample('relay', 0, 4000),
    sample('gateway', 0, 2800),
    sample('relay', 1, 1000),
    sample('gateway', 1, 600, { timeout: 2 }),
    sample('relay', 2, 2000),
    sample('gateway', 2, 1600, { timeout: 1, 'status 500': 1 }),
  ];

  test('are summed up as medians of all turns, with every error', () => {
    expect(summarize(samples)).toEqual([
      expect.objectContaining({
        subject: 'relay',
        turns: 3,
        metrics: { requestsPerSecond: 2000 },
        errors: {},
      }),
      expect.objectContaining({
        subject: 'gateway',
        metrics: { requestsPerSecond: 1600 },
        errors: { timeout: 3, 'status 500': 1 },
      }),
    ]);
  });

  test('are compared within each turn, so that a machine that changes between turns does not decide', () => {
    expect(ratioOf(samples, place, { ...place, subject: 'relay' }, 'requestsPerSecond')).toBe(0.7);
    expect(ratioOf(samples, place, { ...place, subject: 'portkey' }, 'requestsPerSecond')).toBeUndefined();
  });

  test('are held to the targets, of which those without figures are neither met nor missed', () => {
    const [errors, overRelay, overPortkey] = judge(samples);
    expect(errors).toMatchObject({ value: 4, met: false });
    expect(overRelay).toMatchObject({ value: 0.7, met: true });
    expect(overPortkey).toMatchObject({ value: undefined, met: undefined });
    const slower = samples.map((one) =>
      one.subject === 'gateway' ? { ...one, metrics: { requestsPerSecond: 1 } } : one,
    );
    expect(judge(slower)[1]).toMatchObject({ met: false });
    expect(judge(samples)).toHaveLength(TARGETS.length);
  });

  test('grow by the most that a load costs over a smaller one, each turn by itself, and do not when they fall', () => {
    const cost = (variant: string, turn: number, cpuMicros: number): Sample => {
      return { ...place, variant, turn, metrics: { cpuMicros }, errors: {} };
    };
    const growthOf = (costs: readonly (readonly [number, number, number])[]) => {
      const turns = costs.flatMap(([one, some, many], turn) => [
        cost('1 connection', turn, one),
        cost('64 connections', turn, some),
        cost('300 connections', turn, many),
      ]);
      return judge(turns).find(({ target }) => target.text.startsWith('CPU of a chat, how much'))?.value;
    };
    expect(growthOf([[200, 100, 120]])).toBeCloseTo(1.2);
    // A machine that was slow in one turn and fast in another, and once with the largest load only. The ratio of the
    // medians would be 2.
    expect(
      growthOf([
        [1000, 1000, 1100],
        [100, 100, 200],
        [10, 10, 10.5],
      ]),
    ).toBeCloseTo(1.1);
    expect(growthOf([[300, 200, 100]])).toBeLessThan(1);
  });

  test('are drawn as one bar for each subject, the longest as wide as there is room', () => {
    const svg = drawCharts(summarize(samples));
    const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width));
    expect(widths).toEqual([540, 432]);
    expect(svg).toContain('>2,000</text>');
  });
});
