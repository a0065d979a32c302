import type { Contender } from '../contenders/contender.ts';
import { startEmbedded } from '../contenders/gateway.ts';
import { residentMb } from '../machine.ts';
import { orFailure, type Workload, withContender } from './workload.ts';

const NAME = 'startup';
const REST_MS = 1000;

/** From nothing to the first answer. */
export const startup: Workload = {
  name: NAME,
  about: `From starting the process to its first answer, and its memory ${REST_MS / 1000} s later.`,
  async *run(bench) {
    const subjects: readonly { readonly name: string; readonly start: Contender['start'] }[] = [
      ...bench.contenders,
      { name: 'gateway, embedded', start: startEmbedded },
    ];
    for (let round = 0; round < bench.rounds; round++) {
      for (const { name, start } of subjects) {
        bench.note(`${NAME}, round ${round + 1}: ${name}`);
        const place = { workload: NAME, variant: 'idle', subject: name, round };
        let startMs = Number.NaN;
        const timed: Contender['start'] = async (site) => {
          const began = performance.now();
          const running = await start(site);
          startMs = performance.now() - began;
          return running;
        };
        yield* await orFailure(place, () =>
          withContender(bench, timed, { tokens: 1 }, async ({ pid }) => {
            await new Promise((resolve) => setTimeout(resolve, REST_MS));
            return [{ ...place, metrics: { startMs, memoryMb: residentMb(pid) }, errors: {} }];
          }),
        );
      }
    }
  },
};
