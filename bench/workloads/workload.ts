import type { Contender, Running } from '../contenders/contender.ts';
import type { Sample } from '../samples.ts';
import type { Stores } from '../stores.ts';
import type { Script } from '../upstream/script.ts';
import { startUpstream } from '../upstream/start.ts';

/** One kind of load, and what is measured under it. */
export interface Workload {
  readonly name: string;
  readonly about: string;
  run(bench: Bench): AsyncGenerator<Sample, void>;
}

/** What workloads run with. */
export interface Bench {
  readonly stores: Stores;
  readonly contenders: readonly Contender[];
  readonly rounds: number;
  /** Shorter in time, the same in everything else: for trying out. */
  readonly quick: boolean;
  readonly profileDirectory?: string;
  /** Says what is going on to whoever waits. */
  note(text: string): void;
}

/** Runs one contender in front of a fake model server of its own, and nothing else beside them. */
export async function withContender<T>(
  { stores, profileDirectory }: Bench,
  start: Contender['start'],
  script: Script,
  measure: (running: Running) => Promise<T>,
): Promise<T> {
  await using opened = new AsyncDisposableStack();
  const upstream = await startUpstream(script);
  opened.defer(() => upstream.stop());
  const site = {
    upstreamUrl: upstream.url,
    stores,
    ...(profileDirectory !== undefined && { profileDirectory }),
  };
  const running = await start(site);
  opened.defer(() => running.stop());
  return await measure(running);
}

/** A sample of a contender that could not be measured at all: an outcome as any other, and shown as one. */
export async function orFailure(
  place: Pick<Sample, 'workload' | 'variant' | 'subject' | 'round'>,
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
