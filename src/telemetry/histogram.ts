import { ByLabels } from './by-labels.ts';

/** Names and texts as Prometheus shows them. */
export interface HistogramOptions {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds, ascending. */
  readonly buckets: readonly number[];
}

/**
 * A histogram whose observations cost an increment. That of the library looks its labels up anew for each, which was a
 * thirtieth of what a token costs.
 */
export interface Histogram {
  /** @returns what observes for these labels, in the order of their names: the same for the same. */
  of(...values: readonly string[]): (value: number) => void;
  /** In the text format of Prometheus: whatever has been observed at least once. */
  expose(): string;
}

interface Series {
  readonly observe: (value: number) => void;
  readonly labels: string;
  /** Observations by bucket, the last one being all that is beyond. */
  readonly counts: number[];
  sum: number;
}

export function createHistogram({ name, help, labels, buckets }: HistogramOptions): Histogram {
  const all = new ByLabels((values): Series => {
    const series: Series = {
      labels: labels.map((label, index) => `${label}="${escapeLabel(values[index] ?? '')}"`).join(','),
      counts: [...buckets, 0].map(() => 0),
      sum: 0,
      observe(value) {
        let bucket = 0;
        while (bucket < buckets.length && value > (buckets[bucket] as number)) bucket++;
        (series.counts[bucket] as number) += 1;
        series.sum += value;
      },
    };
    return series;
  });

  return {
    of: (...values) => all.of(values).observe,
    expose() {
      const used = [...all].filter(({ counts }) => counts.some((count) => count > 0));
      const lines = used.flatMap((series) => describe(name, buckets, series));
      return [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`, ...lines, ''].join('\n');
    },
  };
}

/** Buckets count whatever is below their bound, and so contain each other. */
function describe(name: string, buckets: readonly number[], { labels, counts, sum }: Series): string[] {
  let count = 0;
  const lines = [...buckets, '+Inf'].map((bound, index) => {
    count += counts[index] ?? 0;
    return `${name}_bucket{le="${bound}",${labels}} ${count}`;
  });
  return [...lines, `${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${count}`];
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}
