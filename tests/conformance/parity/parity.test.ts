import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ReceivedRequest } from '../../../simulator/server.ts';
import { DEMO_KEYS } from '../../../src/core/demo-keys.ts';
import { encodeNodeId } from '../../../src/schema/ids.ts';
import type { UsageRow } from '../../../src/storage/usage-row.ts';
import { type Deployment, startDeployment } from '../../support/deployment.ts';
import { eventually } from '../../support/eventually.ts';
import { DOWN, FIXTURES, type Fixture, type Result } from './fixtures.ts';
import { createGraphQLDriver, type Transport } from './graphql.ts';
import type { Driver, Form, Outcome } from './outcome.ts';
import { createRestDriver } from './rest.ts';

let server: Deployment;
let rest: Driver;
let graphql: Readonly<Record<Transport, Driver>>;
beforeAll(async () => {
  server = await startDeployment({ simulator: { models: MODELS.map((name) => ({ name })), parallel: 4 } });
  rest = createRestDriver(server.url);
  graphql = {
    WebSocket: createGraphQLDriver(server.url, 'WebSocket'),
    'server-sent events': createGraphQLDriver(server.url, 'server-sent events'),
  };
}, 60_000);
afterAll(() => server.close());

const MODELS = ['llama3.1:8b', 'phi3:mini', 'qwen3:8b', 'gemma3:4b', 'nomic-embed-text'];

/** Small enough that what a request has used takes much longer to come back than the request takes. */
const LIMITS = { requestsPerMinute: 60, tokensPerMinute: 3000, concurrentRequests: 4 };

/** What one request leaves behind. */
interface Trace {
  readonly outcome: Outcome;
  /** The bodies that the model server got. */
  readonly upstream: readonly object[];
  /** The request's own row of the ledger, as soon as it is there. */
  row(): Promise<UsageRow>;
  /** How long the tokens that it used take to come back, in milliseconds: at least, and at most. */
  readonly usedMs: readonly [least: number, most: number];
}

async function run(driver: Driver, fixture: Fixture, form: Form): Promise<Trace> {
  const { request, script = {}, before = 0, leave } = fixture;
  const { key, secret } = await server.createKey({ limits: LIMITS, ...fixture.key });
  const authorization = `Bearer ${secret}`;
  server.simulator.setDefault(script);
  const leaving = new AbortController();
  const quiet = { authorization, form, signal: new AbortController().signal, onText: () => undefined };
  for (let sent = 0; sent < before; sent++) await driver.ask(request, quiet);

  const { requests, aborted } = server.simulator.stats();
  let texts = 0;
  const onText = () => {
    if (++texts === leave) leaving.abort();
  };
  const begun = performance.now();
  const asking = driver.ask(request, { authorization, form, signal: leaving.signal, onText });
  if (leave === 'waiting') {
    await server.simulator.until((stats) => stats.requests > requests);
    leaving.abort();
  }
  const outcome = await asking;
  if (leave !== undefined) await server.simulator.until((stats) => stats.aborted > aborted);
  const upstream = bodiesSince(requests);
  const left = await eventually('the end of the request', async () => {
    const limits = await peek(secret);
    return limits.concurrency?.remaining === limits.concurrency?.limit && limits;
  });
  const resetMs = left.tokens?.resetMs ?? 0;
  const usedMs = [resetMs, resetMs + performance.now() - begun] as const;
  return { outcome, upstream, row: () => rowOf(key.keyId, before), usedMs };
}

/** What the model server was asked, in an order that does not depend on which of several choices was first. */
function bodiesSince(before: number): readonly object[] {
  const isWork = ({ path }: ReceivedRequest) => path === '/api/chat' || path === '/api/embed';
  const count = server.simulator.stats().requests - before;
  const asked = count === 0 ? [] : server.simulator.requests().filter(isWork).slice(-count);
  return asked
    .map(({ body }) => body as object)
    .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

interface Bucket {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
}

/** The limits as they are now, which takes nothing from them. */
async function peek(secret: string): Promise<{ readonly [Name in 'tokens' | 'concurrency']: Bucket | null }> {
  const query =
    '{ viewer { limits { tokens { ...B } concurrency { ...B } } } } fragment B on LimitState { limit remaining resetMs }';
  const { data } = await askGraphQL(secret, query);
  return data.viewer.limits;
}

async function askGraphQL(secret: string, query: string, variables: object = {}) {
  const response = await server.fetch('/graphql', {
    method: 'POST',
    body: JSON.stringify({ query, variables }),
    headers: { authorization: `Bearer ${secret}` },
  });
  return JSON.parse(await response.text());
}

function rowOf(keyId: string, before: number): Promise<UsageRow> {
  return eventually(`row ${before + 1} of ${keyId}`, async () => {
    const rows = await server.database.query<UsageRow>(
      'select * from usage_records where key_id = $1 order by started_at',
      [keyId],
    );
    return rows[before];
  });
}

const formsOf = ({ request, leave }: Fixture): readonly Form[] => {
  if (request.kind === 'embedding') return ['numbers', 'base64'];
  // Of an answer in one piece there is no middle.
  return typeof leave === 'number' ? ['streamed'] : ['whole', 'streamed'];
};

const CASES = Object.entries(FIXTURES).flatMap(([name, fixture]) =>
  formsOf(fixture).map((form) => [name, form, fixture] as const),
);

describe('REST and GraphQL come to the same', () => {
  test.each(CASES)('%s, %s', (_name, form, fixture) => expectParity(fixture, form));
});

describe('REST and GraphQL come to the same while no model server answers', () => {
  beforeAll(async () => {
    await server.simulator.stop();
    await eventually(
      'the gateway to notice',
      async () => (await fetch(`${server.url}/ready`)).status === 503,
    );
  });
  afterAll(() => server.simulator.restart());

  test.each(formsOf(DOWN))('%s', (form) => expectParity(DOWN, form));
});

describe('REST and GraphQL refuse alike, and count nothing,', () => {
  const request = Object.values(FIXTURES)[0]?.request ?? DOWN.request;

  test.each([
    ['no key', '', 'missing_api_key'],
    ['a key that nobody has', 'Bearer llmgw_nobody', 'invalid_api_key'],
    ['a key that has expired', `Bearer ${DEMO_KEYS[4].secret}`, 'invalid_api_key'],
  ])('%s', async (_name, authorization, failure) => {
    const rows = await server.rows();
    const { requests } = server.simulator.stats();
    for (const [driver, form] of [
      [rest, 'whole'],
      [graphql.WebSocket, 'whole'],
      [graphql['server-sent events'], 'streamed'],
    ] as const) {
      const { signal } = new AbortController();
      const outcome = await driver.ask(request, { authorization, form, signal, onText: () => undefined });
      const name = `${driver.protocol}, ${form}`;
      expect([name, outcome]).toEqual([name, { failure: { code: failure } }]);
    }
    expect(server.simulator.stats().requests).toBe(requests);
    expect(await server.rows()).toBe(rows);
  });
});

test('a key that is rotated goes on by both secrets, which use up the same limits and are one key in the ledger', async () => {
  const { key, secret } = await server.createKey({ limits: { requestsPerMinute: 2 } });
  const id = encodeNodeId('ApiKey', key.keyId);
  const rotate = `mutation($id: ID!) {
    rotateApiKey(input: { id: $id, graceSeconds: 3600 }) { ... on IssuedApiKey { secret } }
  }`;
  const rotated = (await askGraphQL(DEMO_KEYS[1].secret, rotate, { id })).data.rotateApiKey;
  const chat = `mutation { createChatCompletion(input: {
    model: "llama3.1:8b", messages: [{ role: USER, content: [{ text: "Hello" }] }]
  }) { __typename } }`;
  const typeOf = async (own: string) => (await askGraphQL(own, chat)).data.createChatCompletion.__typename;
  expect(rotated.secret).not.toBe(secret);
  expect([await typeOf(secret), await typeOf(rotated.secret)]).toEqual(['ChatCompletion', 'ChatCompletion']);
  expect([await typeOf(secret), await typeOf(rotated.secret)]).toEqual([
    'RateLimitedError',
    'RateLimitedError',
  ]);
  await rowOf(key.keyId, 3);
  const rows = await server.database.query<UsageRow>(
    'select * from usage_records where key_id = $1 order by status',
    [key.keyId],
  );
  expect(rows.map(({ status }) => status)).toEqual(['error', 'error', 'ok', 'ok']);
});

/** What is not streamed goes the same way, whatever a subscription would go by. */
const transportsOf = (form: Form): readonly Transport[] =>
  form === 'streamed' ? ['WebSocket', 'server-sent events'] : ['WebSocket'];

async function expectParity(fixture: Fixture, form: Form): Promise<void> {
  const { result } = fixture;
  const isSeen = typeof result === 'string' || !('unseen' in result);
  const rows = isSeen ? 0 : await server.rows();
  const byRest = await run(rest, fixture, form);
  expectResult(byRest.outcome, result, 0);
  const others: (readonly [Transport, Trace])[] = [];
  for (const transport of transportsOf(form)) {
    const byGraphQL = await run(graphql[transport], fixture, form);
    expectResult(byGraphQL.outcome, result, 1);
    expectSame(byGraphQL, byRest, transport);
    others.push([transport, byGraphQL]);
  }
  if (!isSeen) {
    expect(await server.rows()).toBe(rows);
    return;
  }
  await Promise.all(others.map(([transport, byGraphQL]) => expectSameRow(byGraphQL, byRest, transport)));
}

function expectSame(byGraphQL: Trace, byRest: Trace, transport: Transport): void {
  expect([transport, comparable(byGraphQL.outcome)]).toEqual([transport, comparable(byRest.outcome)]);
  expect([transport, byGraphQL.upstream]).toEqual([transport, byRest.upstream]);
  // The two spans of time overlap: the same was taken, as far as clocks can tell.
  expect(byRest.usedMs[0]).toBeLessThanOrEqual(byGraphQL.usedMs[1]);
  expect(byGraphQL.usedMs[0]).toBeLessThanOrEqual(byRest.usedMs[1]);
}

async function expectSameRow(byGraphQL: Trace, byRest: Trace, transport: Transport): Promise<void> {
  const [restRow, graphqlRow] = await Promise.all([byRest.row(), byGraphQL.row()]);
  expect([restRow.protocol, graphqlRow.protocol]).toEqual(['rest', 'graphql']);
  expect([transport, comparableRow(graphqlRow)]).toEqual([transport, comparableRow(restRow)]);
  expect(byRest.outcome.id ?? restRow.id).toBe(restRow.id);
  expect(byGraphQL.outcome.id ?? graphqlRow.id).toBe(graphqlRow.id);
}

function expectResult(outcome: Outcome, result: Result, protocol: 0 | 1): void {
  if (result === 'left') {
    expect(outcome).toEqual({});
  } else if ('failure' in result) {
    const { failure: code, field } = result;
    expect(outcome.failure).toMatchObject({ code, ...(field && { field: field[protocol] }) });
  } else {
    expect(outcome.chat ?? outcome.embeddings).toMatchObject(result.answer);
  }
}

/** An outcome without what has to differ: ids, names of fields, and the time since the bucket was last touched. */
function comparable({ chat, failure, embeddings, limits }: Outcome): object {
  return {
    embeddings,
    limits,
    chat: chat && {
      ...chat,
      choices: chat.choices.map((choice) => ({
        ...choice,
        toolCalls: choice.toolCalls.map(({ id, ...call }) => ({ ...call, hasId: /^call_[\w-]+$/.test(id) })),
      })),
    },
    failure: failure && { code: failure.code, isTemporary: failure.retryAfterMs !== undefined },
  };
}

/** A row without what identifies it; of a time, whether there is one. */
function comparableRow(row: UsageRow): object {
  const { id: _, request_id: __, key_id: ___, protocol: ____, started_at: _____, ...rest } = row;
  return Object.fromEntries(
    Object.entries(rest).map(([name, value]) => [
      name,
      /_ms$|_per_second$/.test(name) && value !== null ? 'measured' : value,
    ]),
  );
}
