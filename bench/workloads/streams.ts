import type { Contender } from '../contenders/contender.ts';
import { nginx } from '../contenders/nginx.ts';
import type { Outcome, Sample } from '../samples.ts';
import { measurePaced, TURN } from './streaming.ts';
import { inTurns } from './turns.ts';
import { type Bench, orFailure, type Setup, startSetup, type Workload, warmUpMs } from './workload.ts';

const NAME = 'streams';
/** At the pace at which models write. */
const USUAL = { streams: 300, periodMs: 50 };
/** So that the number of streams is all that differs between the variants of `flat`. */
const FLAT_TOKENS_PER_MS = 2.5;
const FLAT_STREAMS = [10, 100, 500, 1000];
const MEMORY = { streams: 500, periodMs: 100 };

/** Streams that last. */
export const streams: Workload = {
  name: NAME,
  about:
    'Streams at the pace of a model: what each token costs and how much later it arrives. 300 streams of 20 tokens/s; for ' +
    'the gateway also 10 to 1,000 streams that share 2,500 tokens/s, for nginx too, as the more there are, the less of each ' +
    "is in the processor's caches; and 500 streams of 10 tokens/s for their memory.",
  async *run(bench) {
    const entrants = bench.contenders.map(({ name, start, own }) => ({
      subject: name,
      start,
      variants: new Map(own || name === nginx.name ? [usual(), ...flat()] : [usual()]),
      warmUp: (setup: Setup) =>
        measurePaced(setup, 'rest', { ...USUAL, warmUpMs: warmUpMs(bench), measureMs: 1000 }),
    }));
    yield* inTurns(bench, { workload: NAME, turns: 8, entrants });
    for (const contender of bench.contenders.filter(({ own }) => own)) yield* measureMemory(bench, contender);
  },
};

type Variant = [string, (setup: Setup) => Promise<Outcome>];

function usual(): Variant {
  return ['300 streams', (setup) => measurePaced(setup, 'rest', { ...USUAL, ...TURN })];
}

function flat(): readonly Variant[] {
  return FLAT_STREAMS.map((count) => {
    const paced = { streams: count, periodMs: count / FLAT_TOKENS_PER_MS, ...TURN };
    return [`flat: ${count} streams`, (setup) => measurePaced(setup, 'rest', paced)];
  });
}

/** Once, in a process that has done nothing else. */
async function* measureMemory(bench: Bench, { name, start }: Contender): AsyncGenerator<Sample, void> {
  bench.note(`${NAME}: memory of ${name}`);
  const times = bench.quick ? TURN : { warmUpMs: 20_000, measureMs: 60_000 };
  const place = { workload: NAME, variant: 'memory: 500 streams', subject: name, turn: 0 };
  yield* await orFailure(place, async () => {
    await using setup = await startSetup(bench, start);
    return [{ ...place, ...(await measurePaced(setup, 'rest', { ...MEMORY, ...times })) }];
  });
}
