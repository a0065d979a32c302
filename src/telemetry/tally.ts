import { Counter, Gauge, type Registry } from 'prom-client';
import { ByLabels } from './by-labels.ts';

/** Names and texts as Prometheus shows them. */
export interface TallyOptions {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

/** A number that is shown under its labels. */
export interface Count {
  value: number;
}

/**
 * Numbers by their labels, each of which costs an addition to change. The library, which checks and sorts the labels
 * anew for every change, sees them at scrapes only: counting a chat there took a fourteenth of what the chat costs.
 */
export interface Tally {
  /** @returns the number for these labels, in the order of their names: the same for the same. It is shown from now on. */
  of(...values: readonly string[]): Count;
}

const KINDS = { counter: Counter, gauge: Gauge };

export function createTally(
  kind: keyof typeof KINDS,
  registry: Registry,
  { name, help, labels }: TallyOptions,
): Tally {
  const all = new ByLabels<Count & { readonly labels: Readonly<Record<string, string>> }>((values) => {
    const named = Object.fromEntries(labels.map((label, index) => [label, values[index] ?? '']));
    return { labels: named, value: 0 };
  });
  new KINDS[kind]({
    name,
    help,
    labelNames: labels,
    registers: [registry],
    collect() {
      this.reset();
      for (const count of all) this.inc(count.labels, count.value);
    },
  });
  return { of: (...values) => all.of(values) };
}
