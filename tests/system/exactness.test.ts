import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Limits } from '../../src/domain/limit.ts';
import { encodeNodeId } from '../../src/schema/ids.ts';
import { chat, type OpenStream, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { runKeys } from '../support/gateway.ts';
import { startOllama } from '../support/ollama-process.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { openWsClient } from '../support/ws-client.ts';

/** A stream that ends when it is left, and not before. */
const ENDLESS = { tokens: 100_000, paceMs: 50 };

/** Long before a cached key would be looked up again without a signal, which is after 15 s at the earliest. */
const BY_SIGNAL_MS = 10_000;

const MOST_ROUNDS = 3;

let stack: Stack;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  // In a process of its own: a thousand answers keep this one from saying that a model server is there.
  const ollama = await startOllama(100);
  opened.defer(() => ollama.stop());
  stack = await startStack({ simulators: [], env: { OLLAMA_URLS: ollama.url } });
  opened.defer(() => stack.close());
}, 60_000);
afterAll(() => opened.disposeAsync());

/** Asks for streams under a new key, all at once. @returns those that run; the others were refused with 429. */
async function openTogether(limits: Limits, count: number) {
  const { key, secret } = await stack.createKey({ limits });
  const streams = await Promise.all(
    Array.from({ length: count }, () => openStream(stack, secret, { script: ENDLESS })),
  );
  const statuses = streams.map(({ response }) => response.status);
  expect(statuses.filter((status) => status !== 200 && status !== 429)).toEqual([]);
  const running = streams.filter(({ response }) => response.status === 200);
  return { key, running, exact: !streams.some(isDegraded) };
}

/**
 * A machine that is busy enough starves Redis for longer than it may be silent, and a replica that then counts for
 * itself says so. Such a round shows something else, so there is another.
 */
async function openExactly(limits: Limits, count: number) {
  for (let round = 1; ; round++) {
    const outcome = await openTogether(limits, count);
    if (outcome.exact || round === MOST_ROUNDS) return outcome;
    for (const stream of outcome.running) stream.leave();
  }
}

function isDegraded({ response }: OpenStream): boolean {
  return response.headers.get('x-ratelimit-mode') === 'degraded';
}

/** As an administrator does, through nginx. */
async function updateKey(input: object): Promise<void> {
  const query = `mutation ($input: UpdateApiKeyInput!) {
    updateApiKey(input: $input) { __typename ... on Error { message } }
  }`;
  const response = await fetch(`${stack.url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables: { input } }),
  });
  expect(await response.json()).toEqual({ data: { updateApiKey: { __typename: 'ApiKey' } } });
}

describe('three replicas behind one address', () => {
  test.each<readonly [string, Limits]>([
    // One comes back after a minute.
    ['request', { requestsPerMinute: 1 }],
    // Less than an answer without a bound is taken for, so that one holds all of it while it runs.
    ['minute’s tokens', { tokensPerMinute: 1000 }],
    ['concurrency slot', { concurrentRequests: 1 }],
  ])(
    'admit exactly one of 1,000 simultaneous streams for one %s',
    async (_unit, limits) => {
      const { key, running, exact } = await openExactly(limits, 1000);
      if (exact) expect(running).toHaveLength(1);
      // Counted by Redis, at most one; counted by a replica, at most one each.
      const byReplicas = running.filter(isDegraded).length;
      expect(running.length - byReplicas).toBeLessThanOrEqual(1);
      expect(byReplicas).toBeLessThanOrEqual(stack.replicas.length);
      await running[0]?.untilEvents(3);
      for (const stream of running) stream.leave();
      const rows = await stack.operator.untilRows(key.keyId, 1000);
      expect(rows.filter(({ status }) => status === 'error')).toHaveLength(1000 - running.length);
      expect(rows.filter(({ status }) => status === 'cancelled')).toHaveLength(running.length);
    },
    120_000,
  );

  test('free the one slot for any of them as soon as the stream that had it is left', async () => {
    const { secret } = await stack.createKey({ limits: { concurrentRequests: 1 } });
    for (let round = 0; round < 6; round++) {
      const stream = await eventually('the free slot', async () => {
        const opened = await openStream(stack, secret, { script: ENDLESS });
        return opened.response.status === 200 && opened;
      });
      await stream.untilEvents(2);
      expect(await statusOf(chat(stack, secret))).toBe(429);
      stream.leave();
    }
  });

  test('all hear of a revocation, which ends streams within a second of them, and WebSockets, whatever replica they are at', async () => {
    const { key, secret } = await stack.createKey();
    const streams = await Promise.all(
      stack.replicas.map((replica) => openStream(replica, secret, { script: ENDLESS })),
    );
    const sockets = await Promise.all(
      stack.replicas.map(async ({ url }) => {
        const client = await openWsClient(`${url.replace('http', 'ws')}/graphql`);
        await client.init({ authorization: `Bearer ${secret}` });
        return client;
      }),
    );
    await Promise.all(streams.map((stream) => stream.untilEvents(3)));

    const { url: DATABASE_URL } = stack.postgres;
    await runKeys({ DATABASE_URL, REDIS_URL: stack.redis.url }, 'revoke', key.keyId);
    const tokensASecond = 1000 / ENDLESS.paceMs;
    const before = streams.map((stream) => stream.events());
    for (const [index, stream] of streams.entries()) {
      expect(await stream.ended()).toMatchObject({
        done: false,
        errorCode: 'invalid_api_key',
        broken: false,
      });
      expect(stream.events() - (before[index] ?? 0)).toBeLessThan(tokensASecond);
    }
    for (const client of sockets) expect(await client.closed).toMatchObject({ code: 4403 });
    for (let again = 0; again < 6; again++) expect(await statusOf(chat(stack, secret))).toBe(401);
  });

  test('all hold a key to what it has been changed to through one of them', async () => {
    const { key, secret } = await stack.createKey({ limits: { requestsPerMinute: 1000 } });
    const id = encodeNodeId('ApiKey', key.keyId);
    for (const replica of stack.replicas) expect(await statusOf(chat(replica, secret))).toBe(200);
    await updateKey({ id, limits: { requestsPerMinute: 2000 }, models: ['llama3.1:8b'] });
    for (const replica of stack.replicas) {
      await eventually(
        'the new limit',
        async () => {
          const response = await chat(replica, secret);
          await response.arrayBuffer();
          return response.headers.get('x-ratelimit-limit-requests') === '2000';
        },
        BY_SIGNAL_MS,
      );
    }
    await updateKey({ id, models: ['qwen*'] });
    for (const replica of stack.replicas) {
      await eventually(
        'the end of what is no longer permitted',
        async () => (await statusOf(chat(replica, secret))) !== 200,
        BY_SIGNAL_MS,
      );
    }
  });
});
