import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import { chat, loadModel, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, startGateway, TEST_KEY } from '../support/gateway.ts';
import { createDatabase } from '../support/postgres.ts';
import { parseEvents } from '../support/sse.ts';

let ollamas: readonly [Simulator, Simulator];
let gateway: GatewayProcess;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  const database = await createDatabase();
  opened.defer(database.drop);
  ollamas = await Promise.all([startSimulator(), startSimulator()]);
  for (const ollama of ollamas) opened.defer(() => ollama.close());
  gateway = await startGateway({
    DATABASE_URL: database.url,
    SEED_DEMO_KEYS: 'true',
    OLLAMA_URLS: ollamas.map(({ url }) => url).join(','),
    OLLAMA_NUM_PARALLEL: '1',
    OLLAMA_MAX_QUEUE: '3',
  });
  opened.defer(async () => void (await gateway.stop()));
});
afterAll(() => opened.disposeAsync());

afterEach(async () => {
  await Promise.all(ollamas.map((ollama) => ollama.restart()));
  await eventually('two servers', async () => /^llm_gateway_backend_up.* 0$/m.exec(await metrics()) === null);
});

const ENDLESS = { tokens: 100_000, paceMs: 20 };
const SHORT = { tokens: ['Hello', ' there'] };

async function metrics(): Promise<string> {
  return (await fetch(`${gateway.url}/metrics`)).text();
}

function untilWaiting(count: number): Promise<true> {
  return eventually(`${count} waiting`, async () =>
    (await metrics()).includes(`\nllm_gateway_waiting ${count}\n`),
  );
}

/** Streams that take every place there is. */
async function fillPlaces() {
  for (const ollama of ollamas) await loadModel(ollama);
  const streams = await Promise.all(ollamas.map(() => openStream(gateway, TEST_KEY, { script: ENDLESS })));
  for (const stream of streams) await stream.untilEvents(2);
  return streams;
}

/** A subscription whose events are there once it has ended. */
async function subscribe(): Promise<{ ended(): Promise<readonly Record<string, unknown>[]> }> {
  const query = `subscription ($input: ChatCompletionInput!) {
    chatCompletion(input: $input) {
      __typename
      ... on ChatQueued { position }
      ... on ChatFinished { timings { queueMs } }
      ... on ChatFailed { error { __typename code } }
    }
  }`;
  const text = `Say hello. [[sim:${JSON.stringify(SHORT)}]]`;
  const input = { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text }] }] };
  const response = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: {
      accept: 'text/event-stream',
      authorization: `Bearer ${TEST_KEY}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ query, variables: { input } }),
  });
  return {
    async ended() {
      const frames = parseEvents(await response.text()).data.filter((data) => data !== '');
      return frames.map((frame) => JSON.parse(frame).data.chatCompletion);
    },
  };
}

describe('with every place at the Ollama servers taken', () => {
  test('requests wait in the gateway and none at a server; whoever comes is served in turn', async () => {
    const holders = await fillPlaces();
    const subscription = await subscribe();
    await untilWaiting(1);
    const answer = chat(gateway, TEST_KEY, { script: SHORT });
    await untilWaiting(2);
    const stream = openStream(gateway, TEST_KEY, { script: SHORT });
    await untilWaiting(3);
    for (const ollama of ollamas) expect(ollama.stats()).toMatchObject({ inFlight: 1, queued: 0 });

    for (const holder of holders) holder.leave();
    const events = await subscription.ended();
    expect(events[0]).toEqual({ __typename: 'ChatQueued', position: 0 });
    expect(events.at(-1)).toMatchObject({ __typename: 'ChatFinished' });
    const { timings } = events.at(-1) as { readonly timings: { readonly queueMs: number } };
    expect(timings.queueMs).toBeGreaterThan(0);
    expect(await (await answer).json()).toMatchObject({
      choices: [{ message: { content: 'Hello there' } }],
      timings: { queue_ms: expect.any(Number) },
    });
    expect(await (await stream).ended()).toMatchObject({ text: 'Hello there', done: true });
    await untilWaiting(0);
  });

  test('one more than may wait gets 503 at once, which the OpenAI SDK tries again', async () => {
    const holders = await fillPlaces();
    const waiting = [1, 2, 3].map(() => chat(gateway, TEST_KEY, { script: SHORT }));
    await untilWaiting(3);
    const refused = await chat(gateway, TEST_KEY, { stream: true });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('5');
    expect(await refused.json()).toMatchObject({ error: { code: 'upstream_busy', type: 'server_error' } });

    const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: TEST_KEY, maxRetries: 0 });
    const messages = [{ role: 'user' as const, content: 'Hello!' }];
    const asked = openai.chat.completions.create({ model: 'llama3.1:8b', messages });
    await expect(asked).rejects.toMatchObject({ status: 503, code: 'upstream_busy' });

    const [failed] = await (await subscribe()).ended();
    expect(failed).toMatchObject({
      __typename: 'ChatFailed',
      error: { __typename: 'UpstreamUnavailableError', code: 'UPSTREAM_BUSY' },
    });
    for (const holder of holders) holder.leave();
    expect(await Promise.all(waiting.map(statusOf))).toEqual([200, 200, 200]);
  });

  test('who leaves while waiting is gone from the line, and never gets to a server', async () => {
    const holders = await fillPlaces();
    const before = ollamas.map((ollama) => ollama.stats().requests);
    const leaving = new AbortController();
    const left = chat(gateway, TEST_KEY, { signal: leaving.signal }).catch(() => 'left');
    await untilWaiting(1);
    leaving.abort();
    expect(await left).toBe('left');
    await untilWaiting(0);
    for (const holder of holders) holder.leave();
    for (const ollama of ollamas) await ollama.until(({ inFlight }) => inFlight === 0);
    expect(ollamas.map((ollama) => ollama.stats().requests)).toEqual(before);
  });

  test('a server that dies takes nobody who waits along: the other one serves them', async () => {
    const holders = await fillPlaces();
    const waiting = [1, 2].map(() => chat(gateway, TEST_KEY, { script: SHORT }));
    await untilWaiting(2);
    await ollamas[0].stop();
    for (const holder of holders) holder.leave();
    expect(await Promise.all(waiting.map(statusOf))).toEqual([200, 200]);
  });

  test('where all servers die, whoever waits hears so within moments', async () => {
    await fillPlaces();
    const waiting = [1, 2, 3].map(() => chat(gateway, TEST_KEY, { script: SHORT }));
    await untilWaiting(3);
    await Promise.all(ollamas.map((ollama) => ollama.stop()));
    expect(await Promise.all(waiting.map(statusOf))).toEqual([503, 503, 503]);
  });
});

test('many who come, leave and are answered lose no place to anybody', async () => {
  const statuses: unknown[] = [];
  const ask = async (asker: number) => {
    for (let n = 0; n < 12; n++) {
      // A third leaves: while it waits, or in the middle, as it happens.
      const signal = (n + asker) % 3 === 0 ? AbortSignal.timeout(n * 9) : undefined;
      const options = { stream: n % 2 === 0, script: { tokens: 3, paceMs: 5 }, ...(signal && { signal }) };
      statuses.push(await statusOf(chat(gateway, TEST_KEY, options)).catch(() => 'left'));
    }
  };
  await Promise.all([1, 2, 3, 4, 5].map(ask));
  // Who has just left may still be counted when the next one comes.
  expect(new Set([...statuses, 503])).toEqual(new Set([200, 'left', 503]));
  await untilWaiting(0);
  for (const holder of await fillPlaces()) holder.leave();
});
