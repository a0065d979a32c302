import type { Contender } from '../contenders/contender.ts';
import type { Outcome, Sample } from '../samples.ts';
import { type Bench, orFailure, type Setup, startSetup } from './workload.ts';

/** Those who are compared with each other. */
export interface Comparison {
  readonly workload: string;
  /** How often each is measured in a round: the more often, the less it matters when the machine was slow. */
  readonly turns: number;
  readonly entrants: readonly Entrant[];
}

export interface Entrant {
  readonly subject: string;
  readonly start: Contender['start'];
  /** With the load that is measured, so that all of the program is compiled by then. */
  warmUp(setup: Setup): Promise<unknown>;
  /** By the name of the variant. Each takes seconds. */
  readonly variants: ReadonlyMap<string, (setup: Setup) => Promise<Outcome>>;
}

/**
 * Starts all entrants, warms them up and then asks one after the other, for seconds each and many times over, as the speed
 * of a machine may change from one second to the next. Those who are not asked take next to nothing of it meanwhile.
 */
export async function* inTurns(
  bench: Bench,
  { workload, entrants, ...comparison }: Comparison,
): AsyncGenerator<Sample, void> {
  const turns = bench.quick ? 1 : comparison.turns;
  const variants = new Set(entrants.flatMap((entrant) => [...entrant.variants.keys()]));
  for (let round = 0; round < bench.rounds; round++) {
    await using opened = new AsyncDisposableStack();
    const ready: { readonly entrant: Entrant; readonly setup: Setup }[] = [];
    for (const entrant of entrants) {
      bench.note(`${workload}, round ${round + 1}: starts ${entrant.subject}`);
      const place = { workload, variant: 'all', subject: entrant.subject, turn: round * turns };
      yield* await orFailure(place, async () => {
        const setup = opened.use(await startSetup(bench, entrant.start));
        await entrant.warmUp(setup);
        ready.push({ entrant, setup });
        return [];
      });
    }
    const there = [...variants].flatMap((variant) =>
      ready.flatMap(({ entrant: { subject, variants }, setup }) => {
        const measure = variants.get(variant);
        return measure ? [{ variant, subject, measure: () => measure(setup) }] : [];
      }),
    );
    for (let turn = 0; turn < turns; turn++) {
      bench.note(`${workload}, round ${round + 1}: turn ${turn + 1} of ${turns}`);
      // And back again: whoever comes second is measured a few percent cheaper.
      const order = turn % 2 === 0 ? there : there.toReversed();
      for (const { variant, subject, measure } of order) {
        const place = { workload, variant, subject, turn: round * turns + turn };
        yield* await orFailure(place, async () => [{ ...place, ...(await measure()) }]);
      }
    }
  }
}
