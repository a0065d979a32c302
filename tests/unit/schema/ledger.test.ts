import { beforeEach, describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../src/domain/error.ts';
import { encodeNodeId, encodeOpaque } from '../../../src/schema/ids.ts';
import { CALLER, createHarness, type Data, record, type SchemaHarness } from '../../support/schema.ts';

const USAGE = `query(
  $from: DateTime! = "2026-01-01T00:00:00Z", $to: DateTime! = "2026-01-02T00:00:00Z",
  $interval: UsageInterval! = HOUR, $groupBy: [UsageGroup!]! = [], $apiKeyId: ID, $model: String
) {
  usage(from: $from, to: $to, interval: $interval, groupBy: $groupBy, apiKeyId: $apiKeyId, model: $model) {
    start apiKeyId model requests errors cancelled promptTokens completionTokens
    totalMs { p50 p95 p99 } firstTokenMs { p50 p95 p99 }
  }
}`;
const REQUESTS = `query($first: Int! = 20, $after: String, $filter: RequestFilter) {
  requests(first: $first, after: $after, filter: $filter) {
    nodes {
      id requestId apiKeyId protocol operation model backend status errorCode finishReason isStreamed startedAt
      usage { promptTokens isEstimated } timings { totalMs }
    }
    pageInfo { hasNextPage endCursor }
  }
}`;
const VIEWER = `{
  viewer {
    name scopes models
    apiKey { id }
    limits { mode requests { limit remaining resetMs } tokens { limit } concurrency { limit } }
    usageToday { start requests promptTokens totalMs { p50 } }
  }
}`;

let harness: SchemaHarness;
beforeEach(() => {
  harness = createHarness();
});

const own = encodeNodeId('ApiKey', CALLER.keyId);

describe('usage', () => {
  test('is asked as it was meant, and answered with counts larger than 32 bits', async () => {
    const start = new Date('2026-01-01T00:00:00Z');
    harness.buckets = [
      {
        start,
        keyId: CALLER.keyId,
        model: 'llama3.1:8b',
        requests: 3,
        errors: 1,
        cancelled: 1,
        promptTokens: 5_000_000_000,
        completionTokens: 7,
        totalMs: { p50: 1.5, p95: 2, p99: 3 },
      },
      { start, requests: 0, errors: 0, cancelled: 0, promptTokens: 0, completionTokens: 0 },
    ];
    const variables = {
      groupBy: ['MODEL', 'KEY', 'MODEL'],
      apiKeyId: own,
      model: 'llama3.1:8b',
      interval: 'DAY',
    };
    expect((await harness.run(USAGE, variables))['usage']).toEqual([
      {
        start: '2026-01-01T00:00:00.000Z',
        apiKeyId: own,
        model: 'llama3.1:8b',
        requests: 3,
        errors: 1,
        cancelled: 1,
        promptTokens: 5_000_000_000,
        completionTokens: 7,
        totalMs: { p50: 1.5, p95: 2, p99: 3 },
        firstTokenMs: null,
      },
      expect.objectContaining({ apiKeyId: null, model: null, totalMs: null }),
    ]);
    expect(harness.questions).toEqual([
      {
        from: start,
        to: new Date('2026-01-02T00:00:00Z'),
        interval: 'day',
        groupBy: ['model', 'key'],
        keyIds: [CALLER.keyId],
        model: 'llama3.1:8b',
      },
    ]);
  });

  test.each<[string, Data]>([
    ['to', { to: '2026-01-01T00:00:00Z' }],
    ['to', { to: '2025-12-31T00:00:00Z' }],
    ['to', { to: '2026-02-01T00:00:01Z' }],
    ['to', { to: '2027-01-02T00:00:01Z', interval: 'DAY' }],
    ['apiKeyId', { apiKeyId: 'key_caller' }],
  ])('with a wrong %s is refused: %j', async (argument, variables) => {
    const { errors } = await harness.execute(USAGE, variables);
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_REQUEST', argument });
    expect(harness.questions).toEqual([]);
  });

  test('of a whole month by the hour and of a whole year by the day can be asked', async () => {
    await harness.run(USAGE, { to: '2026-02-01T00:00:00Z' });
    await harness.run(USAGE, { to: '2027-01-01T00:00:00Z', interval: 'DAY' });
    expect(harness.questions).toHaveLength(2);
  });

  test('of another key is nothing, for a key that may not read keys', async () => {
    const context = harness.context({ principal: { ...CALLER, scopes: ['usage:read'] } });
    await harness.run(USAGE, { apiKeyId: encodeNodeId('ApiKey', 'key_other') }, context);
    expect(harness.questions).toMatchObject([{ keyIds: [] }]);
  });

  test('says when the database is away, with when to try again', async () => {
    const failure = new GatewayError('storage_unavailable', 'Away.', { retryAfterMs: 500 });
    harness.gateway.administration = {
      ...harness.gateway.administration,
      usage: () => Promise.reject(failure),
    };
    const { errors } = await harness.execute(USAGE);
    expect(errors?.[0]).toMatchObject({
      message: 'Away.',
      extensions: { code: 'STORAGE_UNAVAILABLE', retryable: true, retryAfterMs: 500 },
    });
  });
});

describe('requests', () => {
  test('show all that is kept', async () => {
    harness.records.push(
      record({
        id: 'r1',
        protocol: 'rest',
        operation: 'embedding',
        backend: 'ollama-1',
        status: 'error',
        errorCode: 'upstream_busy',
        finishReason: 'length',
        streamed: false,
        usage: { promptTokens: 4, estimated: true },
        timings: { totalMs: 12.5 },
      }),
      record({ id: 'r2' }),
    );
    const { nodes } = (await harness.run(REQUESTS))['requests'] as { nodes: Data[] };
    expect(nodes[0]).toEqual({
      id: encodeNodeId('Request', 'r1'),
      requestId: 'req_r1',
      apiKeyId: own,
      protocol: 'REST',
      operation: 'EMBEDDING',
      model: 'llama3.1:8b',
      backend: 'ollama-1',
      status: 'ERROR',
      errorCode: 'UPSTREAM_BUSY',
      finishReason: 'LENGTH',
      isStreamed: false,
      startedAt: '2026-01-01T12:00:00.000Z',
      usage: { promptTokens: 4, isEstimated: true },
      timings: { totalMs: 12.5 },
    });
    expect(nodes[1]).toMatchObject({ backend: null, errorCode: null, finishReason: null, isStreamed: true });
  });

  test('are asked for as they were filtered, one more than the page, behind the cursor', async () => {
    for (const id of ['r1', 'r2', 'r3']) harness.records.push(record({ id }));
    const filter = {
      apiKeyId: own,
      model: 'llama3.1:8b',
      status: 'CANCELLED',
      from: '2026-01-01T00:00:00Z',
      to: '2026-01-02T00:00:00Z',
    };
    const first = (await harness.run(REQUESTS, { first: 2, filter }))['requests'] as Data;
    const { endCursor: after } = first['pageInfo'] as { endCursor: string };
    const second = (await harness.run(REQUESTS, { first: 2, after }))['requests'];
    expect(second).toMatchObject({ nodes: [{ requestId: 'req_r3' }], pageInfo: { hasNextPage: false } });
    expect(harness.questions).toEqual([
      {
        limit: 3,
        keyIds: [CALLER.keyId],
        model: 'llama3.1:8b',
        status: 'cancelled',
        from: new Date('2026-01-01T00:00:00Z'),
        to: new Date('2026-01-02T00:00:00Z'),
      },
      { limit: 3, after: { id: 'r2', startedAt: new Date('2026-01-01T12:00:00Z') } },
    ]);
  });

  test.each([
    '',
    '!',
    encodeOpaque('r1'),
    encodeOpaque('1e9:r1'),
    encodeOpaque("1:'; drop table x"),
    encodeOpaque('1:'),
  ])('refuse the cursor %j', async (after) => {
    const { errors } = await harness.execute(REQUESTS, { after });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_REQUEST', argument: 'after' });
  });

  test.each<[string, Data]>([
    ['filter.apiKeyId', { apiKeyId: 'key_caller' }],
    ['filter.from', { from: '1969-12-31T23:59:59Z' }],
    ['filter.to', { to: '1969-12-31T23:59:59Z' }],
  ])('with a wrong %s are refused', async (argument, filter) => {
    const { errors } = await harness.execute(REQUESTS, { filter });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_REQUEST', argument });
    expect(errors?.[0]?.message).toContain(`${argument} must be`);
    expect(harness.questions).toEqual([]);
  });

  test("are the caller's own, for a key that may not read keys", async () => {
    harness.records.push(record({ id: 'r1', keyId: 'key_other' }), record({ id: 'r2' }));
    const context = harness.context({ principal: { ...CALLER, scopes: ['usage:read'] } });
    expect(await harness.run(REQUESTS, {}, context)).toMatchObject({
      requests: { nodes: [{ requestId: 'req_r2' }] },
    });
  });
});

describe('the viewer', () => {
  test('is the calling key with its limits and what it has used today', async () => {
    expect((await harness.run(VIEWER))['viewer']).toEqual({
      name: 'caller',
      scopes: ['CHAT', 'EMBEDDINGS', 'MODELS', 'KEYS_READ', 'KEYS_WRITE', 'USAGE_READ'],
      models: [],
      apiKey: { id: own },
      limits: {
        mode: 'EXACT',
        requests: { limit: 60, remaining: 59, resetMs: 1000 },
        tokens: null,
        concurrency: null,
      },
      usageToday: { start: '2026-01-01T00:00:00.000Z', requests: 0, promptTokens: 0, totalMs: null },
    });
    expect(harness.questions).toEqual([
      {
        from: new Date('2026-01-01T00:00:00Z'),
        to: new Date('2026-01-02T00:00:00Z'),
        interval: 'day',
        groupBy: [],
        keyIds: [CALLER.keyId],
      },
    ]);
  });

  test('needs no scope but for its usage, whose absence takes nothing else away', async () => {
    const context = harness.context({ principal: { ...CALLER, scopes: [] } });
    const { data, errors } = await harness.execute(VIEWER, {}, context);
    expect(data?.['viewer']).toMatchObject({ name: 'caller', apiKey: { id: own }, usageToday: null });
    expect(errors?.map(({ path, extensions }) => [path, extensions['code']])).toEqual([
      [['viewer', 'usageToday'], 'NOT_PERMITTED'],
    ]);
  });
});
