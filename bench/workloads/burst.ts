import { measureRepeated } from './streaming.ts';
import { orFailure, type Workload, warmUpMs, withContender } from './workload.ts';

const NAME = 'burst';
const STREAMS = 32;
const TOKENS = 2000;

/** Streams that come faster than they can be passed on. */
export const burst: Workload = {
  name: NAME,
  about: `${STREAMS} streams at a time of ${TOKENS} tokens each, sent as fast as they are taken: how many tokens pass.`,
  async *run(bench) {
    const times = { warmUpMs: warmUpMs(bench), measureMs: bench.quick ? 3000 : 8000 };
    for (let round = 0; round < bench.rounds; round++) {
      for (const { name, start } of bench.contenders) {
        bench.note(`${NAME}, round ${round + 1}: ${name}`);
        const place = { workload: NAME, variant: `${STREAMS} streams`, subject: name, round };
        yield* await orFailure(place, () =>
          withContender(bench, start, { tokens: TOKENS }, async (running) => [
            { ...place, ...(await measureRepeated(running, { streams: STREAMS, tokens: TOKENS, ...times })) },
          ]),
        );
      }
    }
  },
};
