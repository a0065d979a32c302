/** The schema without a server: operations run against a scripted gateway, with keys and a ledger in memory. */
import {
  type ExecutionResult,
  type GraphQLSchema,
  graphql,
  parse,
  subscribe as subscribeTo,
  validate,
} from 'graphql';
import { createAdministration } from '../../src/core/administration.ts';
import { createKeys } from '../../src/core/keys.ts';
import type { KeyStore, LedgerReader, RecordQuery, UsageBucket, UsageQuery } from '../../src/core/ports.ts';
import type { LimitsState } from '../../src/domain/limit.ts';
import type { Backend } from '../../src/domain/model.ts';
import { type ApiKey, type Principal, SCOPES } from '../../src/domain/principal.ts';
import type { UsageRecord } from '../../src/domain/record.ts';
import type { GraphQLContext, SchemaGateway } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import { createTestClock, type TestClock } from './clock.ts';
import { createFakeGateway, FAKE_MODELS, type FakeGateway } from './fake-gateway.ts';

export type Data = Record<string, unknown>;

export interface SchemaHarness {
  readonly schema: GraphQLSchema;
  readonly clock: TestClock;
  /** Answers chats and embeddings. */
  readonly fake: FakeGateway;
  /** A test replaces what it needs to. */
  readonly gateway: { -readonly [K in keyof SchemaGateway]: SchemaGateway[K] };
  readonly keys: Map<string, ApiKey>;
  readonly records: UsageRecord[];
  /** What the ledger was asked. */
  readonly questions: (UsageQuery | RecordQuery)[];
  buckets: readonly UsageBucket[];
  backends: readonly Backend[];
  limits: LimitsState;
  readonly bugs: unknown[];
  /** A context of its own for each operation. */
  context(change?: Partial<GraphQLContext>): GraphQLContext;
  /** @throws where there are errors. */
  run(source: string, variables?: Data, context?: GraphQLContext): Promise<Data>;
  execute(source: string, variables?: Data, context?: GraphQLContext): Promise<ExecutionResult>;
  subscribe(
    source: string,
    variables?: Data,
    context?: GraphQLContext,
  ): Promise<AsyncGenerator<ExecutionResult>>;
}

export const CALLER: Principal = {
  keyId: 'key_caller',
  name: 'caller',
  scopes: SCOPES,
  models: [],
  limits: { requestsPerMinute: 60 },
};

const START = Date.UTC(2026, 0, 1, 12);

export function createHarness(): SchemaHarness {
  const schema = createSchema();
  const clock = createTestClock(START);
  const fake = createFakeGateway();
  const keys = new Map<string, ApiKey>();
  const records: UsageRecord[] = [];
  const questions: (UsageQuery | RecordQuery)[] = [];
  const bugs: unknown[] = [];
  const signals = { publish: () => undefined, subscribe: () => () => undefined };
  const administration = createAdministration(
    createKeys({ store: createMemoryKeys(keys), signals, clock }),
    createMemoryLedger(records, questions, () => harness.buckets),
  );
  keys.set(CALLER.keyId, apiKey(CALLER));

  const harness: SchemaHarness = {
    schema,
    clock,
    fake,
    keys,
    records,
    questions,
    bugs,
    buckets: [],
    backends: [
      {
        id: 'ollama-1',
        healthy: true,
        models: new Map(FAKE_MODELS.map((model) => [model.id, model])),
        loaded: new Set(['llama3.1:8b']),
        inFlight: 2,
      },
    ],
    limits: { mode: 'exact', requests: { limit: 60, remaining: 59, resetMs: 1000 } },
    gateway: {
      chat: fake.chat,
      embed: fake.embed,
      listModels: fake.listModels,
      getModel: fake.getModel,
      listBackends: () => harness.backends,
      limits: async () => harness.limits,
      administration,
    },
    context: (change = {}) => ({
      gateway: harness.gateway,
      principal: CALLER,
      requestId: 'req_test',
      signal: new AbortController().signal,
      draining: new AbortController().signal,
      clock,
      sharedLimits: (principal) => harness.gateway.limits(principal),
      reportBug: (thrown) => void bugs.push(thrown),
      ...change,
    }),
    async execute(source, variableValues = {}, contextValue = harness.context()) {
      return graphql({ schema, source, variableValues, contextValue });
    },
    async run(source, variables, context) {
      const { data, errors } = await harness.execute(source, variables, context);
      if (errors || !data) throw new Error(`the operation failed: ${errors?.map(String).join('; ')}`);
      // The executor's objects have no prototype, which comparisons would mind.
      return structuredCloneOf(data);
    },
    async subscribe(source, variableValues = {}, contextValue = harness.context()) {
      const document = parse(source);
      const problems = validate(schema, document);
      if (problems.length > 0) throw new Error(problems.map(String).join('; '));
      const result = await subscribeTo({ schema, document, variableValues, contextValue });
      if (Symbol.asyncIterator in result) return result as AsyncGenerator<ExecutionResult>;
      throw result.errors?.[0] ?? new Error('the subscription gave neither a stream nor an error');
    },
  };
  return harness;
}

/** Every event of a subscription with one root field. */
export async function collect(events: AsyncIterable<ExecutionResult>): Promise<Data[]> {
  const collected: Data[] = [];
  for await (const result of events) collected.push(eventOf(result));
  return collected;
}

export function eventOf({ data, errors }: ExecutionResult): Data {
  if (errors || !data) throw new Error(`an event failed: ${errors?.map(String).join('; ')}`);
  return structuredCloneOf(Object.values(data)[0] as Data);
}

function structuredCloneOf(data: object): Data {
  return JSON.parse(JSON.stringify(data));
}

export function apiKey(principal: Partial<ApiKey> & Pick<ApiKey, 'keyId'>): ApiKey {
  return {
    name: principal.keyId,
    scopes: ['chat'],
    models: [],
    limits: {},
    prefix: 'llmgw_000000',
    createdAt: new Date(START),
    metadata: {},
    ...principal,
  };
}

export function record(change: Partial<UsageRecord> & Pick<UsageRecord, 'id'>): UsageRecord {
  return {
    requestId: `req_${change.id}`,
    keyId: CALLER.keyId,
    protocol: 'graphql',
    operation: 'chat',
    model: 'llama3.1:8b',
    status: 'ok',
    streamed: true,
    usage: {},
    timings: {},
    startedAt: new Date(START),
    ...change,
  };
}

function createMemoryKeys(keys: Map<string, ApiKey>): KeyStore {
  const newestFirst = () => [...keys.values()].reverse();
  const put = (keyId: string, change: Partial<ApiKey>) => {
    const key = keys.get(keyId);
    if (key) keys.set(keyId, { ...key, ...change });
    return keys.get(keyId);
  };
  return {
    findByDigest: async () => undefined,
    get: async (keyId) => keys.get(keyId),
    async list({ limit, after, name, revoked }) {
      const all = newestFirst();
      const start = after === undefined ? 0 : all.findIndex(({ keyId }) => keyId === after) + 1;
      return all
        .slice(start)
        .filter((key) => name === undefined || key.name.includes(name))
        .filter((key) => revoked === undefined || (key.revokedAt !== undefined) === revoked)
        .slice(0, limit);
    },
    async create(key) {
      keys.set(key.keyId, key);
      return true;
    },
    async update(keyId, { limits, expiresAt, ...change }) {
      const key = keys.get(keyId);
      if (!key) return undefined;
      const { expiresAt: before, ...rest } = key;
      const end = expiresAt === undefined ? before : expiresAt;
      const kept = Object.entries({ ...key.limits, ...limits }).filter(([, limit]) => limit !== null);
      const changed: ApiKey = {
        ...rest,
        ...change,
        limits: Object.fromEntries(kept) as ApiKey['limits'],
        ...(end && { expiresAt: end }),
      };
      keys.set(keyId, changed);
      return changed;
    },
    rotate: async (keyId, { prefix }) => put(keyId, { prefix }),
    revoke: async (keyId, revokedAt) => put(keyId, { revokedAt }),
    touch: async () => undefined,
  };
}

function createMemoryLedger(
  records: readonly UsageRecord[],
  questions: (UsageQuery | RecordQuery)[],
  buckets: () => readonly UsageBucket[],
): LedgerReader {
  return {
    async buckets(query) {
      questions.push(query);
      return buckets();
    },
    async records(query) {
      questions.push(query);
      const { after, limit, keyIds } = query;
      const start = after === undefined ? 0 : records.findIndex(({ id }) => id === after.id) + 1;
      const visible = records
        .slice(start)
        .filter(({ keyId }) => keyIds === undefined || keyIds.includes(keyId));
      return visible.slice(0, limit);
    },
    record: async (id) => records.find((one) => one.id === id),
  };
}
