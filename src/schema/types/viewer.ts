import type { UsageBucket, UsageQuery } from '../../core/ports.ts';
import { GatewayError } from '../../domain/error.ts';
import type { LimitState, LimitsState } from '../../domain/limit.ts';
import type { Principal } from '../../domain/principal.ts';
import { builder } from '../builder.ts';
import type { GraphQLContext } from '../context.ts';
import { ArgumentError } from '../errors.ts';
import { createEventStream } from '../event-stream.ts';
import { watchLimits } from '../limits.ts';
import { ApiKeyType, ScopeEnum } from './key.ts';
import { UsageBucketType } from './usage.ts';

const DAY_MS = 86_400_000;
const MIN_EVERY_MS = 250;
const MAX_EVERY_MS = 60_000;

const LimitMode = builder.enumType('LimitMode', {
  description: 'How limits are counted.',
  values: {
    EXACT: { value: 'exact', description: 'Over all replicas of the gateway.' },
    DEGRADED: {
      value: 'degraded',
      description: 'By each replica alone, against its share, because the shared store is away.',
    },
  } as const,
});

const LimitStateType = builder.objectRef<LimitState>('LimitState').implement({
  description: 'One limit as it stands.',
  fields: (t) => ({
    limit: t.expose('limit', { type: 'SafeInt', description: 'The whole of it.' }),
    remaining: t.expose('remaining', { type: 'SafeInt', description: 'What is left, in the same unit.' }),
    resetMs: t.expose('resetMs', {
      type: 'SafeInt',
      description:
        'The time until all of it is there again, in milliseconds. It comes back little by little.',
    }),
  }),
});

const LimitsType = builder.objectRef<LimitsState>('Limits').implement({
  description: "The calling key's limits as they stand. Null where it has no such limit.",
  fields: (t) => ({
    mode: t.expose('mode', { type: LimitMode, description: 'How they are counted.' }),
    requests: t.expose('requests', {
      type: LimitStateType,
      nullable: true,
      description: 'Requests per minute.',
    }),
    tokens: t.expose('tokens', {
      type: LimitStateType,
      nullable: true,
      description: 'Tokens per minute, of prompts and answers together.',
    }),
    concurrency: t.expose('concurrency', {
      type: LimitStateType,
      nullable: true,
      description: 'Requests that run at the same time.',
    }),
  }),
});

const Viewer = builder.objectRef<Principal>('Viewer').implement({
  description: 'Whoever asks: the holder of the API key.',
  fields: (t) => ({
    apiKey: t.field({
      type: ApiKeyType,
      nullable: true,
      description: 'The key itself.',
      resolve: ({ keyId }, _args, { gateway, principal }) => gateway.administration.getKey(principal, keyId),
    }),
    name: t.exposeString('name', { description: 'What people call the key.' }),
    scopes: t.expose('scopes', { type: [ScopeEnum], description: 'What the key may do.' }),
    models: t.exposeStringList('models', {
      description: 'The models that the key may use; `*` is any run of characters. Empty: all.',
    }),
    limits: t.field({
      type: LimitsType,
      description: 'What is left of each limit, and when it is all there again.',
      resolve: (_viewer, _args, { gateway, principal }) => gateway.limits(principal),
    }),
    usageToday: t.field({
      type: UsageBucketType,
      nullable: true,
      description:
        'What the key has used since midnight in UTC. Null, with an error, where it lacks the scope `usage:read`.',
      resolve: (_viewer, _args, context) => loadUsageToday(context),
    }),
  }),
});

builder.queryField('viewer', (t) =>
  t.field({
    type: Viewer,
    scope: 'authenticated',
    description: 'Whoever asks.',
    resolve: (_root, _args, { principal }) => principal,
  }),
);

builder.subscriptionField('viewerLimits', (t) =>
  t.field({
    type: LimitsType,
    scope: 'authenticated',
    description:
      "The calling key's limits: now, and whenever they have changed. It ends when the gateway is being stopped, and with an error when the key ends.",
    args: {
      everyMs: t.arg.int({
        required: true,
        defaultValue: 1000,
        description: `How often to look, ${MIN_EVERY_MS} to ${MAX_EVERY_MS} milliseconds.`,
      }),
    },
    subscribe: (_root, { everyMs }, context) => {
      if (everyMs < MIN_EVERY_MS || everyMs > MAX_EVERY_MS) {
        throw new ArgumentError('everyMs', `everyMs must be ${MIN_EVERY_MS} to ${MAX_EVERY_MS}.`);
      }
      return createEventStream<LimitsState, LimitsState>(watchLimits(context, everyMs), {
        encode: (state) => {
          context.rateLimit = state;
          return state;
        },
        fail: (thrown) => {
          // Whoever has left does not read why it ends.
          if (thrown instanceof GatewayError && thrown.code === 'client_closed') return undefined;
          throw thrown;
        },
        end: () => undefined,
      });
    },
    resolve: (limits) => limits,
  }),
);

async function loadUsageToday(context: GraphQLContext): Promise<UsageBucket> {
  const { gateway, principal, signal, clock } = context;
  const start = new Date(Math.floor(clock.now() / DAY_MS) * DAY_MS);
  const query: UsageQuery = {
    from: start,
    to: new Date(start.getTime() + DAY_MS),
    interval: 'day',
    groupBy: [],
    keyIds: [principal.keyId],
  };
  const [today] = await gateway.administration.usage(principal, query, signal);
  return today ?? { start, requests: 0, errors: 0, cancelled: 0, promptTokens: 0, completionTokens: 0 };
}
