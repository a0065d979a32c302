import type { Contender, Running } from '../contenders/contender.ts';
import type { Sample } from '../samples.ts';
import { startUpstream, type Upstream } from '../upstream/start.ts';

/** One kind of load, and what is measured under it. */
export interface Workload {
  readonly name: string;
  readonly about: string;
  run(bench: Bench): AsyncGenerator<Sample, void>;
}

/** What workloads run with. */
export interface Bench {
  readonly contenders: readonly Contender[];
  /** How often each is started and measured. */
  readonly rounds: number;
  /** Shorter in time, the same in everything else: for trying out. */
  readonly quick: boolean;
  readonly profileDirectory?: string;
  /** Says what is going on to whoever waits. */
  note(text: string): void;
}

/** A contender in front of a fake model server of its own. */
export interface Setup extends AsyncDisposable {
  readonly running: Running;
  readonly upstream: Upstream;
}

export async function startSetup(
  { profileDirectory }: Pick<Bench, 'profileDirectory'>,
  start: Contender['start'],
): Promise<Setup> {
  await using opened = new AsyncDisposableStack();
  const upstream = await startUpstream();
  opened.defer(() => upstream.stop());
  const running = await start({
    upstreamUrl: upstream.url,
    ...(profileDirectory !== undefined && { profileDirectory }),
  });
  opened.defer(() => running.stop());
  const resources = opened.move();
  return { running, upstream, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** A sample of a contender that could not be measured at all: an outcome as any other, and shown as one. */
export async function orFailure(
  place: Pick<Sample, 'workload' | 'variant' | 'subject' | 'turn'>,
  measure: () => Promise<readonly Sample[]>,
): Promise<readonly Sample[]> {
  try {
    return await measure();
  } catch (error) {
    const lines = (error instanceof Error ? error.message : String(error)).split('\n');
    // What a process has said before it ended is long; what went wrong is the line with the word in it.
    const reason = lines.find((line) => /error/i.test(line)) ?? lines[0];
    return [{ ...place, metrics: {}, errors: { [`failed: ${reason}`]: 1 } }];
  }
}

/** What has run for less is still being compiled, and the larger a program the longer. */
export function warmUpMs({ quick }: Pick<Bench, 'quick'>): number {
  return quick ? 3000 : 12_000;
}
