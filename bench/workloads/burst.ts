import { measureRepeated } from './streaming.ts';
import { inTurns } from './turns.ts';
import { type Setup, type Workload, warmUpMs } from './workload.ts';

const NAME = 'burst';
const LOAD = { streams: 32, tokens: 2000 };
const TURN = { warmUpMs: 1000, measureMs: 2000 };

/** Streams that come faster than they can be passed on. */
export const burst: Workload = {
  name: NAME,
  about: `${LOAD.streams} streams at a time of ${LOAD.tokens} tokens each, sent as fast as they are taken: how many tokens pass.`,
  run(bench) {
    const variants = new Map([
      [`${LOAD.streams} streams`, (setup: Setup) => measureRepeated(setup, { ...LOAD, ...TURN })],
    ]);
    const entrants = bench.contenders.map(({ name, start }) => ({
      subject: name,
      start,
      variants,
      warmUp: (setup: Setup) =>
        measureRepeated(setup, { ...LOAD, warmUpMs: warmUpMs(bench), measureMs: 1000 }),
    }));
    return inTurns(bench, { workload: NAME, turns: 4, entrants });
  },
};
