import { type Metric, type Place, ratioOf, type Sample, valueAt } from './samples.ts';

/** What the gateway is meant to achieve: figures of one run against each other, as machines differ. */
export interface Target {
  readonly text: string;
  readonly bound: 'at least' | 'at most';
  readonly limit: number;
  /** @returns undefined where what it takes was not measured. */
  measure(samples: readonly Sample[]): number | undefined;
}

export interface Verdict {
  readonly target: Target;
  readonly value: number | undefined;
  readonly met: boolean | undefined;
}

export function judge(samples: readonly Sample[]): readonly Verdict[] {
  return TARGETS.map((target) => {
    const value = target.measure(samples);
    const met =
      value === undefined
        ? undefined
        : target.bound === 'at least'
          ? value >= target.limit
          : value <= target.limit;
    return { target, value, met };
  });
}

/** What more connections or streams may at most multiply the cost of one by. */
const FLAT = 1.25;

const at = (workload: string, variant: string, subject = 'gateway'): Place => ({
  workload,
  variant,
  subject,
});

function ratio(metric: Metric, dividend: Place, divisor: Place): Target['measure'] {
  return (samples) => ratioOf(samples, dividend, divisor, metric);
}

function value(metric: Metric, place: Place): Target['measure'] {
  return (samples) => valueAt(samples, place, metric);
}

/**
 * By how much the gateway's cost grows with the load: the most that a variant costs over one of less load. That the cost
 * falls is not against it: to be woken for a single request costs everybody more, nginx above all.
 * @param variants in the order of their load.
 */
function growth(metric: Metric, workload: string, variants: readonly string[]): Target['measure'] {
  return (samples) => {
    const ratios = variants.flatMap((larger, index) =>
      variants
        .slice(0, index)
        .map((smaller) => ratioOf(samples, at(workload, larger), at(workload, smaller), metric)),
    );
    const known = ratios.filter((one) => one !== undefined);
    return known.length < ratios.length ? undefined : Math.max(...known);
  };
}

const OWN_SUBJECTS: readonly string[] = ['gateway', 'gateway, embedded', 'rest', 'graphql-ws', 'graphql-sse'];

function countErrors(samples: readonly Sample[]): number | undefined {
  const own = samples.filter(({ subject }) => OWN_SUBJECTS.includes(subject));
  const counts = own.flatMap(({ errors }) => Object.values(errors));
  return own.length > 0 ? counts.reduce((sum, one) => sum + one, 0) : undefined;
}

const CHAT = at('chat', '64 connections');
const STREAMS = at('streams', '300 streams');
const REST = at('graphql', '300 streams', 'rest');
const MEMORY = at('streams', 'memory: 500 streams');

export const TARGETS: readonly Target[] = [
  {
    text: 'Errors of the gateway, in everything that was measured',
    bound: 'at most',
    limit: 0,
    measure: countErrors,
  },
  {
    text: 'Chats a second at 64 connections, over those of the bare relay',
    bound: 'at least',
    limit: 0.6,
    measure: ratio('requestsPerSecond', CHAT, { ...CHAT, subject: 'relay' }),
  },
  {
    text: 'Chats a second at 64 connections, over those of Portkey',
    bound: 'at least',
    limit: 4,
    measure: ratio('requestsPerSecond', CHAT, { ...CHAT, subject: 'portkey' }),
  },
  {
    text: 'CPU of a chat, how much it grows over 1, 64 and 300 connections',
    bound: 'at most',
    limit: FLAT,
    measure: growth('cpuMicros', 'chat', ['1 connection', '64 connections', '300 connections']),
  },
  {
    text: 'CPU of a token in 300 streams, over that of the bare relay',
    bound: 'at most',
    limit: 1.25,
    measure: ratio('cpuMicros', STREAMS, { ...STREAMS, subject: 'relay' }),
  },
  {
    text: 'CPU of a token in 300 streams, over that of Portkey',
    bound: 'at most',
    limit: 0.55,
    measure: ratio('cpuMicros', STREAMS, { ...STREAMS, subject: 'portkey' }),
  },
  {
    text: 'Delay of a token at the 99th percentile, over that of the bare relay',
    bound: 'at most',
    limit: 1.5,
    measure: ratio('p99Ms', STREAMS, { ...STREAMS, subject: 'relay' }),
  },
  {
    text: 'CPU of a token, how much it grows over 10, 100, 500 and 1,000 streams',
    bound: 'at most',
    limit: FLAT,
    measure: growth(
      'cpuMicros',
      'streams',
      [10, 100, 500, 1000].map((count) => `flat: ${count} streams`),
    ),
  },
  {
    text: 'Memory with 500 streams, in MB',
    bound: 'at most',
    limit: 250,
    measure: value('memoryMb', MEMORY),
  },
  {
    text: 'Memory with 500 streams, last quarter of a minute over its first',
    bound: 'at most',
    limit: 1.1,
    measure: value('memoryGrowth', MEMORY),
  },
  {
    text: 'CPU of a token over graphql-ws, over that of REST',
    bound: 'at most',
    limit: 1.6,
    measure: ratio('cpuMicros', { ...REST, subject: 'graphql-ws' }, REST),
  },
  {
    text: 'CPU of a token over GraphQL by server-sent events, over that of REST',
    bound: 'at most',
    limit: 1.6,
    measure: ratio('cpuMicros', { ...REST, subject: 'graphql-sse' }, REST),
  },
  {
    text: '/health at the 99th percentile under full load, in ms',
    bound: 'at most',
    limit: 10,
    measure: value('p99Ms', at('side', '/health')),
  },
  {
    text: '/v1/models at the 99th percentile under full load, in ms',
    bound: 'at most',
    limit: 50,
    measure: value('p99Ms', at('side', '/v1/models')),
  },
  {
    text: 'Round trips to Redis for one decision',
    bound: 'at most',
    limit: 1,
    measure: value('roundTrips', at('admission', 'claim')),
  },
  {
    text: 'CPU of one decision, in µs',
    bound: 'at most',
    limit: 60,
    measure: value('cpuMicros', at('admission', 'claim')),
  },
];
