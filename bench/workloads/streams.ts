import type { Contender } from '../contenders/contender.ts';
import type { Sample } from '../samples.ts';
import { measurePaced, type PacedStreams, scriptOf } from './streaming.ts';
import { type Bench, orFailure, type Workload, warmUpMs, withContender } from './workload.ts';

const NAME = 'streams';
/** So that the number of streams is all that differs between the variants of `flat`. */
const FLAT_TOKENS_PER_MS = 2.5;
const FLAT_STREAMS = [10, 100, 500, 1000];

/** Streams at the pace at which models write. */
export const streams: Workload = {
  name: NAME,
  about:
    'Streams at the pace of a model: what each token costs and how much later it arrives. 300 streams of 20 tokens/s; for ' +
    'the gateway also 10 to 1,000 streams that share 2,500 tokens/s, and 500 streams of 10 tokens/s for their memory.',
  async *run(bench) {
    const times = { warmUpMs: warmUpMs(bench), measureMs: bench.quick ? 4000 : 12_000 };
    for (let round = 0; round < bench.rounds; round++) {
      for (const contender of bench.contenders) {
        yield* measureOne(bench, contender, round, '300 streams', { streams: 300, periodMs: 50, ...times });
      }
      for (const contender of bench.contenders.filter(({ own }) => own)) {
        for (const count of FLAT_STREAMS) {
          const paced = { streams: count, periodMs: count / FLAT_TOKENS_PER_MS, ...times };
          yield* measureOne(bench, contender, round, `flat: ${count} streams`, paced);
        }
        if (round > 0) continue;
        const longer = bench.quick ? times : { warmUpMs: 20_000, measureMs: 60_000 };
        const paced = { streams: 500, periodMs: 100, ...longer };
        yield* measureOne(bench, contender, round, 'memory: 500 streams', paced);
      }
    }
  },
};

async function* measureOne(
  bench: Bench,
  contender: Contender,
  round: number,
  variant: string,
  paced: PacedStreams,
): AsyncGenerator<Sample, void> {
  bench.note(`${NAME}, round ${round + 1}: ${contender.name}, ${variant}`);
  const place = { workload: NAME, variant, subject: contender.name, round };
  yield* await orFailure(place, () =>
    withContender(bench, contender.start, scriptOf(paced), async (running) => [
      { ...place, ...(await measurePaced(running, 'rest', paced)) },
    ]),
  );
}
