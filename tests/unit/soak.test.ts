import { describe, expect, test } from '@jest/globals';
import { explain, type Fault } from '../../scripts/soak/faults.ts';
import { createHistogram } from '../../scripts/soak/histogram.ts';
import { parseOptions } from '../../scripts/soak/options.ts';
import { keepsGrowing, SAMPLE_MS } from '../../scripts/soak/samples.ts';
import { countTo, startLoad } from '../support/traffic.ts';

const TARGET = { url: 'http://127.0.0.1:1', secret: '' };

describe('the load of a soak', () => {
  test.each([
    ['lacks a token', ['one', ' two', ' four']],
    ['repeats one', ['one', ' two', ' two', ' three', ' four']],
    ['has two in the wrong order', ['one', ' three', ' two', ' four']],
    ['ends too early', ['one', ' two', ' three']],
  ])('takes an answer that %s for a failure', async (_what, said) => {
    const create = () => ({ ask: async () => said.join(''), close: async () => undefined });
    const script = { tokens: ['one', ' two', ' three', ' four'] };
    const load = startLoad(TARGET, { stream: { create, script } }, { mostFailures: 1 });
    const { completed, failed } = await load.stop();
    expect(completed).toEqual([]);
    expect(failed.map(({ cause }) => cause)).toEqual(['the text is not what was said']);
  });

  test('takes one that is all of it for an answer', async () => {
    const text = countTo(3).join('');
    expect(text).toBe(' 1 2 3');
    const create = () => ({ ask: async () => text, close: async () => undefined });
    const load = startLoad(TARGET, { stream: { create, script: { tokens: countTo(3) } } });
    const { completed, failed } = await load.stop();
    expect(failed).toEqual([]);
    expect(completed).toHaveLength(1);
  });
});

describe('a fault', () => {
  const killed: Fault = { name: 'a replica killed', breaksRunning: true, at: 1000, inForceAt: 1010 };
  const stopped: Fault = { name: 'Redis stopped', breaksRunning: false, at: 5000, inForceAt: 5010 };
  const failure = (askedAt: number, failedAt: number) => ({
    kind: 'stream',
    requestId: 'stream-1',
    cause: 'cut',
    askedAt,
    failedAt,
  });

  test.each([
    ['was under way when it began', 900, 1005, killed],
    ['began before it was in force', 1005, 1020, killed],
    ['had failed before', 800, 900, undefined],
    ['began afterwards', 1011, 1300, undefined],
    ['no fault may break', 4900, 5100, undefined],
  ] as const)('that breaks requests explains one that %s, or does not', (_what, askedAt, failedAt, by) => {
    expect(explain(failure(askedAt, failedAt), [stopped, killed])).toBe(by);
  });
});

describe('the memory of a process', () => {
  const series = (seconds: number, megabytes: (share: number) => number) => {
    const count = (seconds * 1000) / SAMPLE_MS;
    const bytes = Array.from({ length: count }, (_, index) => megabytes(index / count) * 2 ** 20);
    return { replica: 1, pid: 1, bytes };
  };

  test('keeps growing when it is a fifth more in the end than before the middle', () => {
    expect(keepsGrowing(series(600, (share) => 150 + 150 * share))).toBe(true);
  });

  test('does not when it grows at first and goes up and down from then on', () => {
    expect(keepsGrowing(series(600, (share) => (share < 0.1 ? 150 : 250 + 30 * Math.sin(100 * share))))).toBe(
      false,
    );
  });

  test('is not judged while the process is new', () => {
    expect(keepsGrowing(series(120, (share) => 150 + 150 * share))).toBe(false);
  });
});

test('percentiles are those of all durations, the longest ones included', () => {
  const histogram = createHistogram();
  expect(histogram.percentile(0.5)).toBeUndefined();
  for (let ms = 1; ms <= 99; ms++) histogram.add(ms);
  histogram.add(1e9);
  expect([histogram.percentile(0.5), histogram.percentile(0.99), histogram.percentile(1)]).toEqual([
    50, 99, 60_000,
  ]);
});

describe('the command line', () => {
  test('has defaults, and takes the key of a running deployment from the environment', () => {
    expect(parseOptions([], {})).toEqual({
      minutes: 10,
      clients: 300,
      tokensPerSecond: 20,
      faults: false,
    });
    expect(parseOptions(['--url', 'https://llm.example.org/'], { GATEWAY_KEY: 'secret' })).toMatchObject({
      deployment: { url: 'https://llm.example.org', secret: 'secret', model: 'llama3.1:8b' },
    });
  });

  test.each([
    [['--minutes', '0']],
    [['--clients', 'many']],
    [['--url', 'llm.example.org']],
    [['--url', 'https://llm.example.org']],
    [['--url', 'https://llm.example.org', '--key', 'k', '--faults']],
    [['--nonsense']],
  ])('refuses %j', (args) => {
    expect(() => parseOptions(args, {})).toThrow(/--/);
  });
});
