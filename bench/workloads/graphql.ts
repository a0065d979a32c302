import type { Protocol } from '../load/clients.ts';
import { measurePaced, TURN } from './streaming.ts';
import { inTurns } from './turns.ts';
import { type Setup, type Workload, warmUpMs } from './workload.ts';

const NAME = 'graphql';
const PROTOCOLS: readonly Protocol[] = ['rest', 'graphql-ws', 'graphql-sse'];
const PACED = { streams: 300, periodMs: 100 };

/** The gateway's protocols side by side, each in a process of its own. */
export const graphql: Workload = {
  name: NAME,
  about:
    'The same streams of the gateway in each of its protocols, a connection for each stream: 300 streams of 10 tokens/s, ' +
    'half the pace of the others, so that the dearest protocol still has time to spare.',
  run(bench) {
    const own = bench.contenders.filter((contender) => contender.own);
    const entrants = own.flatMap(({ name, start }) =>
      PROTOCOLS.map((protocol) => ({
        subject: name === 'gateway' ? protocol : `${name}, ${protocol}`,
        start,
        variants: new Map([
          ['300 streams', (setup: Setup) => measurePaced(setup, protocol, { ...PACED, ...TURN })],
        ]),
        warmUp: (setup: Setup) =>
          measurePaced(setup, protocol, { ...PACED, warmUpMs: warmUpMs(bench), measureMs: 1000 }),
      })),
    );
    return inTurns(bench, { workload: NAME, turns: 6, entrants });
  },
};
