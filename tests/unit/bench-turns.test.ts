import { expect, test } from '@jest/globals';
import type { Sample } from '../../bench/samples.ts';
import { type Entrant, inTurns } from '../../bench/workloads/turns.ts';

test('contenders are all started, take turns in each variant, there and back, and are all stopped; who fails is shown as failed', async () => {
  const log: string[] = [];
  const entrant = (subject: string, variants: readonly string[]): Entrant => ({
    subject,
    async start() {
      if (subject === 'broken') throw new Error('error: no such program');
      log.push(`start ${subject}`);
      return {
        url: '',
        pid: 0,
        startMs: 1,
        headers: {},
        settled: async () => undefined,
        stop: async () => void log.push(`stop ${subject}`),
      };
    },
    warmUp: async () => void log.push(`warm ${subject}`),
    variants: new Map(
      variants.map((variant) => [
        variant,
        async () => {
          log.push(`${subject} ${variant}`);
          if (variant === 'hard') throw new Error('error: too hard');
          return { metrics: { p50Ms: 1 }, errors: {} };
        },
      ]),
    ),
  });
  const bench = { contenders: [], rounds: 2, quick: false, note: () => undefined };
  const entrants = [entrant('A', ['easy']), entrant('broken', ['easy']), entrant('B', ['easy', 'hard'])];

  const samples: Sample[] = [];
  for await (const sample of inTurns(bench, { workload: 'chat', turns: 2, entrants })) samples.push(sample);

  const forth = ['A easy', 'B easy', 'B hard'];
  const home = ['B hard', 'B easy', 'A easy'];
  const round = ['start A', 'warm A', 'start B', 'warm B', ...forth, ...home, 'stop B', 'stop A'];
  expect(log).toEqual([...round, ...round]);
  const shown = samples.map((one) => [one.turn, one.subject, one.variant, ...Object.keys(one.errors)]);
  const there = (at: number) => [
    [at, 'A', 'easy'],
    [at, 'B', 'easy'],
    [at, 'B', 'hard', 'failed: error: too hard'],
  ];
  const back = (at: number) => there(at).toReversed();
  const broken = (at: number) => [[at, 'broken', 'all', 'failed: error: no such program']];
  expect(shown).toEqual([...broken(0), ...there(0), ...back(1), ...broken(2), ...there(2), ...back(3)]);
});
