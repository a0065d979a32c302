import type { Percentiles, UsageBucket } from '../../core/ports.ts';
import { type Timings, totalTokens, type Usage } from '../../domain/usage.ts';
import { builder } from '../builder.ts';
import { ArgumentError } from '../errors.ts';
import { decodeIdOf, encodeNodeId } from '../ids.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Of each interval, so many at most in one question. */
const MAX_RANGE_MS = { hour: 31 * DAY_MS, day: 366 * DAY_MS } as const;

const UsageInterval = builder.enumType('UsageInterval', {
  description: 'How long the time is that one bucket covers.',
  values: {
    HOUR: { value: 'hour', description: 'An hour. At most 31 days in one query.' },
    DAY: { value: 'day', description: 'A day in UTC. At most 366 days in one query.' },
  } as const,
});

const UsageGroup = builder.enumType('UsageGroup', {
  description: 'What to tell apart within an interval.',
  values: {
    KEY: { value: 'key', description: 'One bucket for each API key.' },
    MODEL: { value: 'model', description: 'One bucket for each model.' },
  } as const,
});

export const TokenUsage = builder.objectRef<Usage>('TokenUsage').implement({
  description:
    'What a request took, in tokens. A count that nobody knows is null: zero would be a statement.',
  fields: (t) => ({
    promptTokens: t.expose('promptTokens', {
      type: 'SafeInt',
      nullable: true,
      description: 'Tokens of the prompt, cached ones included.',
    }),
    completionTokens: t.expose('completionTokens', {
      type: 'SafeInt',
      nullable: true,
      description: 'Tokens that the model produced, reasoning and tool calls included.',
    }),
    totalTokens: t.field({
      type: 'SafeInt',
      nullable: true,
      description: 'Prompt and completion together.',
      resolve: totalTokens,
    }),
    reasoningTokens: t.expose('reasoningTokens', {
      type: 'SafeInt',
      nullable: true,
      description: 'The part of `completionTokens` spent on reasoning.',
    }),
    cachedTokens: t.expose('cachedTokens', {
      type: 'SafeInt',
      nullable: true,
      description: "The part of `promptTokens` served from the backend's cache.",
    }),
    isEstimated: t.boolean({
      description: 'Whether a count was made by the gateway, because the backend gave none.',
      resolve: ({ estimated }) => estimated ?? false,
    }),
  }),
});

export const TimingsType = builder.objectRef<Timings>('Timings').implement({
  description: 'Where the time of a request went. What was not measured is null.',
  fields: (t) => ({
    queueMs: t.exposeFloat('queueMs', {
      nullable: true,
      description: 'Waiting for a backend, in milliseconds.',
    }),
    loadMs: t.exposeFloat('loadMs', {
      nullable: true,
      description: 'Loading the model into memory, in milliseconds.',
    }),
    promptMs: t.exposeFloat('promptMs', {
      nullable: true,
      description: 'Reading the prompt, in milliseconds.',
    }),
    firstTokenMs: t.exposeFloat('firstTokenMs', {
      nullable: true,
      description: 'From the arrival of the request to the first of its answer, in milliseconds.',
    }),
    totalMs: t.exposeFloat('totalMs', {
      nullable: true,
      description: 'From the arrival of the request to its end, in milliseconds.',
    }),
    tokensPerSecond: t.exposeFloat('tokensPerSecond', {
      nullable: true,
      description: 'Tokens per second while the model was producing.',
    }),
  }),
});

const PercentilesType = builder.objectRef<Percentiles>('Percentiles').implement({
  description: 'How a duration is spread over the requests that have it.',
  fields: (t) => ({
    p50: t.exposeFloat('p50', { description: 'Half of the requests took no longer, in milliseconds.' }),
    p95: t.exposeFloat('p95', { description: '95 of 100 requests took no longer, in milliseconds.' }),
    p99: t.exposeFloat('p99', { description: '99 of 100 requests took no longer, in milliseconds.' }),
  }),
});

export const UsageBucketType = builder.objectRef<UsageBucket>('UsageBucket').implement({
  description: 'What happened in one interval, to one group where groups are told apart.',
  fields: (t) => ({
    start: t.expose('start', { type: 'DateTime', description: 'When the interval begins.' }),
    apiKeyId: t.id({
      nullable: true,
      description: 'The id of the API key. Null unless grouped by key.',
      resolve: ({ keyId }) => (keyId === undefined ? undefined : encodeNodeId('ApiKey', keyId)),
    }),
    model: t.exposeString('model', {
      nullable: true,
      description: "The model's name. Null unless grouped by model.",
    }),
    requests: t.expose('requests', {
      type: 'SafeInt',
      description: 'Requests that ended, whatever their end.',
    }),
    errors: t.expose('errors', { type: 'SafeInt', description: 'Those that failed.' }),
    cancelled: t.expose('cancelled', { type: 'SafeInt', description: 'Those that the client left.' }),
    promptTokens: t.expose('promptTokens', {
      type: 'SafeInt',
      description: 'The sum of the known counts of prompt tokens.',
    }),
    completionTokens: t.expose('completionTokens', {
      type: 'SafeInt',
      description: 'The sum of the known counts of produced tokens.',
    }),
    totalMs: t.expose('totalMs', {
      type: PercentilesType,
      nullable: true,
      description: 'From arrival to end. Null where no request has the figure.',
    }),
    firstTokenMs: t.expose('firstTokenMs', {
      type: PercentilesType,
      nullable: true,
      description: 'From arrival to the first of the answer. Null where no request has the figure.',
    }),
  }),
});

builder.queryField('usage', (t) =>
  t.field({
    type: [UsageBucketType],
    nullable: true,
    extensions: { entries: countBuckets },
    scope: 'usage:read',
    description:
      'Sums over the requests of the key, or of every key for a key that may read keys. Oldest first; intervals without a request are absent.',
    args: {
      from: t.arg({ type: 'DateTime', required: true, description: 'The earliest start of a request.' }),
      to: t.arg({
        type: 'DateTime',
        required: true,
        description: 'Requests that start then or later are left out.',
      }),
      interval: t.arg({ type: UsageInterval, required: true, description: 'How long one bucket is.' }),
      groupBy: t.arg({
        type: [UsageGroup],
        required: true,
        defaultValue: [],
        description: 'What to tell apart within an interval. Empty: nothing.',
      }),
      apiKeyId: t.arg.id({ description: 'Only the requests of this key.' }),
      model: t.arg.string({ description: 'Only the requests to this model, by its full name.' }),
    },
    resolve: async (_root, { from, to, interval, groupBy, apiKeyId, model }, context) => {
      const { gateway, principal, signal } = context;
      checkRange(from, to, interval);
      const query = {
        from,
        to,
        interval,
        groupBy: [...new Set(groupBy)],
        ...keyFilter(apiKeyId, 'apiKeyId'),
        ...(typeof model === 'string' && { model }),
      };
      return [...(await gateway.administration.usage(principal, query, signal))];
    },
  }),
);

/** The key that a filter names by its id. */
export function keyFilter(
  apiKeyId: string | null | undefined,
  path: string,
): { readonly keyIds?: readonly string[] } {
  if (typeof apiKeyId !== 'string') return {};
  const keyId = decodeIdOf('ApiKey', apiKeyId);
  if (keyId === undefined) throw new ArgumentError(path, `${path} must be the id of an API key.`);
  return { keyIds: [keyId] };
}

/** How many buckets there may be, for what the query costs; a group is taken to have two members in each interval. */
function countBuckets({ from, to, interval, groupBy }: Readonly<Record<string, unknown>>): number {
  const [unitMs, maxMs] = interval === 'HOUR' ? [HOUR_MS, MAX_RANGE_MS.hour] : [DAY_MS, MAX_RANGE_MS.day];
  const rangeMs = Math.min(Date.parse(String(to)) - Date.parse(String(from)), maxMs);
  const groups = new Set([groupBy ?? []].flat()).size;
  // What is no range is for the resolver to refuse.
  return rangeMs > 0 ? Math.ceil(rangeMs / unitMs) * 2 ** groups : 1;
}

function checkRange(from: Date, to: Date, interval: keyof typeof MAX_RANGE_MS): void {
  const range = to.getTime() - from.getTime();
  if (range <= 0) throw new ArgumentError('to', 'to must be later than from.');
  if (range <= MAX_RANGE_MS[interval]) return;
  const days = MAX_RANGE_MS[interval] / DAY_MS;
  throw new ArgumentError(
    'to',
    `to must be at most ${days} days after from, with buckets of one ${interval}.`,
  );
}
