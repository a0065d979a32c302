import type { Protocol } from '../load/clients.ts';
import { measurePaced, scriptOf } from './streaming.ts';
import { orFailure, type Workload, warmUpMs, withContender } from './workload.ts';

const NAME = 'graphql';
const PROTOCOLS: readonly Protocol[] = ['rest', 'graphql-ws', 'graphql-sse'];

/** The gateway's protocols side by side. */
export const graphql: Workload = {
  name: NAME,
  about:
    'The same streams of the gateway in each of its protocols, a connection for each stream: 300 streams of 10 tokens/s, ' +
    'half the pace of the others, so that the dearest protocol still has time to spare.',
  async *run(bench) {
    const times = { warmUpMs: warmUpMs(bench), measureMs: bench.quick ? 4000 : 12_000 };
    const paced = { streams: 300, periodMs: 100, ...times };
    for (let round = 0; round < bench.rounds; round++) {
      for (const { name, start } of bench.contenders.filter(({ own }) => own)) {
        for (const protocol of PROTOCOLS) {
          bench.note(`${NAME}, round ${round + 1}: ${name}, ${protocol}`);
          const subject = name === 'gateway' ? protocol : `${name}, ${protocol}`;
          const place = { workload: NAME, variant: '300 streams', subject, round };
          yield* await orFailure(place, () =>
            withContender(bench, start, scriptOf(paced), async (running) => [
              { ...place, ...(await measurePaced(running, protocol, paced)) },
            ]),
          );
        }
      }
    }
  },
};
