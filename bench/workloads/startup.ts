import type { Contender } from '../contenders/contender.ts';
import { startEmbedded } from '../contenders/gateway.ts';
import { residentMb } from '../machine.ts';
import { orFailure, startSetup, type Workload } from './workload.ts';

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
        const place = { workload: NAME, variant: 'idle', subject: name, turn: round };
        yield* await orFailure(place, async () => {
          await using setup = await startSetup(bench, start);
          const { startMs, pid } = setup.running;
          await new Promise((resolve) => setTimeout(resolve, REST_MS));
          return [{ ...place, metrics: { startMs, memoryMb: residentMb(pid) }, errors: {} }];
        });
      }
    }
  },
};
