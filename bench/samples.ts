import { median } from './figures.ts';

/** What can be measured. How each is shown is in `METRICS`. */
export type Metric = keyof typeof METRICS;

interface MetricDescription {
  readonly label: string;
  readonly digits: number;
}

export const METRICS = {
  requestsPerSecond: { label: 'requests/s', digits: 0 },
  tokensPerSecond: { label: 'tokens/s', digits: 0 },
  decisionsPerSecond: { label: 'decisions/s', digits: 0 },
  cpuMicros: { label: 'CPU µs each', digits: 1 },
  p50Ms: { label: 'p50 ms', digits: 2 },
  p99Ms: { label: 'p99 ms', digits: 2 },
  lateMs: { label: 'own p99', digits: 2 },
  memoryMb: { label: 'memory MB', digits: 0 },
  memoryGrowth: { label: 'memory, last ÷ first', digits: 2 },
  roundTrips: { label: 'round trips each', digits: 2 },
  startMs: { label: 'start ms', digits: 0 },
  otherCoreBusy: { label: 'other core', digits: 2 },
} as const satisfies Readonly<Record<string, MetricDescription>>;

/** What a measurement comes to. */
export interface Outcome {
  readonly metrics: Readonly<Partial<Record<Metric, number>>>;
  /** What went wrong, by kind. */
  readonly errors: Readonly<Record<string, number>>;
}

/** One measurement. */
export interface Sample extends Outcome {
  readonly workload: string;
  /** What distinguishes it within the workload, e.g. `64 connections`. */
  readonly variant: string;
  /** Who was measured. */
  readonly subject: string;
  /** From 0. Samples of one turn were taken one right after the other, and are compared with each other. */
  readonly turn: number;
}

/** All samples of one subject in one variant. */
export interface Summary {
  readonly workload: string;
  readonly variant: string;
  readonly subject: string;
  readonly turns: number;
  /** Medians over the turns. */
  readonly metrics: Readonly<Partial<Record<Metric, number>>>;
  /** Sums over the turns. */
  readonly errors: Readonly<Record<string, number>>;
}

/** In the order in which the samples first came. */
export function summarize(samples: readonly Sample[]): readonly Summary[] {
  const groups = Map.groupBy(samples, ({ workload, variant, subject }) =>
    [workload, variant, subject].join('\n'),
  );
  return [...groups.values()].map((group) => {
    const { workload, variant, subject } = group[0] as Sample;
    const names = new Set(group.flatMap(({ metrics }) => Object.keys(metrics) as Metric[]));
    const metrics = Object.fromEntries(
      [...names].map((name) => [name, median(group.flatMap((sample) => sample.metrics[name] ?? []))]),
    );
    return { workload, variant, subject, turns: group.length, metrics, errors: sumErrors(group) };
  });
}

function sumErrors(samples: readonly Sample[]): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const { errors } of samples) {
    for (const [kind, count] of Object.entries(errors)) sums[kind] = (sums[kind] ?? 0) + count;
  }
  return sums;
}

/** Where to look for one figure. */
export interface Place {
  readonly workload: string;
  readonly variant: string;
  readonly subject: string;
}

/** The median of one metric, or undefined where it was not measured. */
export function valueAt(samples: readonly Sample[], place: Place, metric: Metric): number | undefined {
  const values = samples
    .filter((sample) => isAt(sample, place))
    .flatMap(({ metrics }) => metrics[metric] ?? []);
  return values.length > 0 ? median(values) : undefined;
}

/**
 * How many times the figure at one place is that at another: the median of the ratios within each turn, as the machine
 * changes more between turns than within one.
 */
export function ratioOf(
  samples: readonly Sample[],
  dividend: Place,
  divisor: Place,
  metric: Metric,
): number | undefined {
  const ratios = samples
    .filter((sample) => isAt(sample, dividend))
    .flatMap((sample) => {
      const other = samples.find((one) => one.turn === sample.turn && isAt(one, divisor));
      const above = sample.metrics[metric];
      const below = other?.metrics[metric];
      return above === undefined || below === undefined ? [] : above / below;
    });
  return ratios.length > 0 ? median(ratios) : undefined;
}

function isAt(sample: Sample, { workload, variant, subject }: Place): boolean {
  return sample.workload === workload && sample.variant === variant && sample.subject === subject;
}
