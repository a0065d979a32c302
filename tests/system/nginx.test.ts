import { once } from 'node:events';
import { request as sendRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { PUBLIC_PATHS } from '../../src/rest/auth.ts';
import { chat, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { openWsClient } from '../support/ws-client.ts';

/** nginx in front of three gateways. */

let stack: Stack;
let secret: string;
let keyId: string;

beforeAll(async () => {
  stack = await startStack();
  const issued = await stack.createKey();
  secret = issued.secret;
  keyId = issued.key.keyId;
}, 120_000);
afterAll(() => stack?.close(), 60_000);

/** Some tokens, and then nothing more while the connection stays. */
const held = { tokens: 20, hangAfter: 5 };
const simulator = () => {
  const [one] = stack.simulators;
  if (one === undefined) throw new Error('there is no simulator');
  return one;
};
const untilIdle = () => simulator().until(({ inFlight }) => inFlight === 0);

describe('a stream', () => {
  test('begins at the client while the model is still at work, and ends there when the client leaves', async () => {
    const stream = await openStream(stack, secret, { script: held });
    await stream.untilEvents(3);
    expect(simulator().stats().inFlight).toBe(1);
    stream.leave();
    await untilIdle();
  });

  test('over WebSocket does so, too', async () => {
    const client = await openWsClient(`${stack.url.replace('http', 'ws')}/graphql`);
    await client.init({ authorization: `Bearer ${secret}` });
    const text = JSON.stringify(`Hello [[sim:${JSON.stringify(held)}]]`);
    client.subscribe(
      'one',
      `subscription { chatCompletion(input: { model: "llama3.1:8b", messages: [{ role: USER, content: [{ text: ${text} }] }] }) {
        ... on ChatContentDelta { content }
      } }`,
    );
    let heard = '';
    while (heard === '') {
      const { payload } = await client.next();
      const event = payload?.data?.['chatCompletion'] as { content?: string } | undefined;
      heard = event?.content ?? '';
    }
    expect(simulator().stats().inFlight).toBe(1);
    client.socket.terminate();
    await untilIdle();
  });

  test('is read by the OpenAI SDK as without nginx', async () => {
    const client = new OpenAI({ baseURL: `${stack.url}/v1`, apiKey: secret, maxRetries: 0 });
    const messages = [{ role: 'user' as const, content: 'Hello [[sim:{"text":"one two three"}]]' }];
    let text = '';
    for await (const chunk of await client.chat.completions.create({
      model: 'llama3.1:8b',
      messages,
      stream: true,
    })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text).toBe('one two three');
  });
});

describe('the replicas', () => {
  test('share streams evenly', async () => {
    const ids = Array.from({ length: 6 }, (_, index) => `spread-${index}`);
    const streams = [];
    for (const requestId of ids) streams.push(await openStream(stack, secret, { requestId, script: held }));
    for (const stream of streams) stream.leave();
    await untilIdle();
    const ofStreams = (line: Record<string, unknown>) => ids.includes(String(line['request_id']));
    const lines = await eventually('the lines of six streams', () => {
      const found = stack.nginx.accessLog().filter(ofStreams);
      return found.length === ids.length && found;
    });
    const groups = Map.groupBy(lines, ({ upstream }) => upstream);
    expect(Array.from(groups.values(), (group) => group.length)).toEqual([2, 2, 2]);
  });

  test('answer for one that was killed, POST requests included, and it for them when it is back', async () => {
    await stack.replicas[0]?.kill();
    const statuses = await Promise.all(Array.from({ length: 12 }, () => statusOf(chat(stack, secret))));
    expect(statuses).toEqual(Array(12).fill(200));
    await stack.restart(0);
    const replica = async () => {
      const response = await fetch(`${stack.url}/health`);
      return ((await response.json()) as { replica: string }).replica;
    };
    await eventually('the replica', async () => (await replica()) === 'gateway-1');
  });
});

describe('a request id', () => {
  test.each(['chosen-by-the-client', undefined])(
    '(%s) is the same in the answer, both logs and the ledger',
    async (chosen) => {
      const response = await chat(stack, secret, chosen === undefined ? {} : { requestId: chosen });
      await response.arrayBuffer();
      const id = response.headers.get('x-request-id');
      expect(id).toEqual(chosen ?? expect.stringMatching(/^req_[0-9a-f]{32}$/));
      const ofRequest = (line: Record<string, unknown>) => line['request_id'] === id;
      const logged = await stack.nginx.untilLogged(ofRequest);
      const replica = stack.replicas.find(({ url }) => new URL(url).host === logged['upstream']);
      await replica?.untilLog(ofRequest);
      await eventually('the row', async () =>
        (await stack.operator.rows(keyId)).some((row) => row.request_id === id),
      );
    },
  );

  test('is on errors, by which the OpenAI SDK names them', async () => {
    const client = new OpenAI({ baseURL: `${stack.url}/v1`, apiKey: secret, maxRetries: 0 });
    const input = 'x'.repeat(20 * 1024 * 1024);
    const failed = client.embeddings.create({ model: 'nomic-embed-text', input }).catch((error) => error);
    const error = await failed;
    expect(error).toMatchObject({ status: 413, code: 'request_too_large', type: 'invalid_request_error' });
    await stack.nginx.untilLogged(({ request_id }) => request_id === error.requestID);
  });
});

describe('a body', () => {
  test('as large as it may be passes both nginx and the gateway', async () => {
    const around = JSON.stringify({ model: 'none', messages: [{ role: 'user', content: '' }] });
    const body = around.replace('""', `"${'x'.repeat(20 * 1024 * 1024 - around.length)}"`);
    const response = await fetch(`${stack.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body,
    });
    expect([response.status, await response.json()]).toMatchObject([
      404,
      { error: { code: 'model_not_found' } },
    ]);
  });
});

describe('paths that need no key', () => {
  const OPEN = ['/', '/health', '/ready', '/openapi.json', '/cors-test'];
  const CLOSED = ['/metrics', '/docs'];

  test('are each decided about', () => {
    expect([...OPEN, ...CLOSED].sort()).toEqual([...PUBLIC_PATHS].sort());
  });

  test.each(OPEN)('%s is open', async (path) => {
    expect((await fetch(stack.url + path)).status).toBe(200);
  });

  test.each(CLOSED)('%s is closed', async (path) => {
    const [replica] = stack.replicas;
    expect((await fetch(replica?.url + path)).status).toBe(200);
    expect((await fetch(stack.url + path)).status).toBe(404);
  });

  test('tell no address, also of what is broken', async () => {
    await stack.redis.stop();
    await eventually('a report of it', async () => {
      const report = await (await fetch(`${stack.url}/ready`)).text();
      expect(report).not.toMatch(/127\.0\.0\.1|localhost|:\d{4,5}\b/);
      return report.includes('"redis":{"state":"down"');
    });
    await stack.redis.start();
  });
});

describe('CORS', () => {
  /** Names and values as they came, each as often as it did. */
  async function headersOf(method: string, path: string, headers: Readonly<Record<string, string>>) {
    const [response] = await once(
      sendRequest(stack.url + path, { method, headers: { origin: 'https://app.example', ...headers } }).end(),
      'response',
    );
    response.resume();
    return response.rawHeaders.map((text: string) => text.toLowerCase());
  }
  const asking = {
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization',
  };

  test.each([
    ['a preflight of REST', 'OPTIONS', '/v1/chat/completions', asking],
    ['a preflight of GraphQL', 'OPTIONS', '/graphql', asking],
    ['an answer', 'GET', '/health', {}],
    ['a refusal', 'GET', '/v1/models', {}],
    ['a refusal of GraphQL', 'POST', '/graphql', {}],
    ['a path that leads nowhere', 'GET', '/chat/completions', {}],
  ])('on %s is said once', async (_case, method, path, headers) => {
    const raw = await headersOf(method, path, headers);
    expect(raw.filter((name: string) => name === 'access-control-allow-origin')).toHaveLength(1);
    expect(raw.filter((name: string) => name === 'x-content-type-options')).toHaveLength(1);
    expect(raw.filter((name: string) => name === 'x-request-id')).toHaveLength(1);
  });
});

test('a replica keeps an idle connection longer than nginx does', async () => {
  const [replica] = stack.replicas;
  const [response] = await once(
    sendRequest(`${replica?.url}/health`, { headers: { connection: 'keep-alive' } }).end(),
    'response',
  );
  response.resume();
  expect(Number(/timeout=(\d+)/.exec(response.headers['keep-alive'])?.[1])).toBeGreaterThan(60);
});
