import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Browser, startBrowser } from '../support/browser.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { type ForeignServer, startForeignServer } from './foreign-server.ts';
import { callPage, type Exchange, listenIn } from './foreign-visit.ts';

let browser: Browser;
let foreign: ForeignServer;
let stack: Stack;
let key: string;
beforeAll(async () => {
  browser = await startBrowser();
  foreign = await startForeignServer();
  stack = await startStack({ simulators: [{ parallel: 100, paceMs: 5, script: { tokens: 30 } }] });
  const issued = await stack.createKey({
    scopes: ['chat', 'models', 'usage:read'],
    limits: { requestsPerMinute: 1000 },
  });
  key = issued.secret;
}, 300_000);
afterAll(async () => {
  await stack?.close();
  await foreign?.close();
  await browser?.close();
});
afterEach(() => browser.closePages());

const CHAT = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'Why is the sky blue?' }] };
const SUBSCRIPTION = {
  query:
    'subscription($input: ChatCompletionInput!) { chatCompletion(input: $input) { __typename sequence } }',
  variables: {
    input: { model: CHAT.model, messages: [{ role: 'USER', content: [{ text: 'Why is the sky blue?' }] }] },
  },
};

/** A page of another origin than the deployment's, and all that it exchanges with it. */
async function visitForeign() {
  const visit = await browser.open(foreign.origin);
  const exchanges = await listenIn(visit, stack.url);
  const call = <Result>(name: string, body: object) =>
    callPage<Result>(visit, name, { gateway: stack.url, key, body });
  return { ...visit, exchanges, call };
}

/** Browsers take a header that comes twice for none, and nginx could add one as well as the gateway. */
function expectEachOnce(exchanges: readonly Exchange[]): void {
  for (const { url, method, cors } of exchanges) {
    const names = [
      'access-control-allow-origin',
      'access-control-expose-headers',
      ...(method === 'OPTIONS'
        ? ['access-control-allow-headers', 'access-control-allow-methods', 'access-control-max-age']
        : []),
    ];
    const counts = Object.entries(cors).map(([name, values]) => [name, values.length]);
    const expected = names.sort().map((name) => [name, 1]);
    expect({ url, method, counts: counts.sort() }).toEqual({ url, method, counts: expected });
    expect(cors['access-control-allow-origin']).toEqual(['*']);
  }
}

describe('a page of another origin, through nginx', () => {
  test('asks for leave before it sends a key, and gets it once for each path', async () => {
    const { call, exchanges, complaints } = await visitForeign();
    await call('streamChat', { ...CHAT, stream: true });
    await call('query', { query: '{ viewer { name } }' });
    await call('streamChat', { ...CHAT, stream: true });

    expect(exchanges.map(({ method, url, status }) => [method, url.replace(stack.url, ''), status])).toEqual([
      ['OPTIONS', '/v1/chat/completions', 204],
      ['POST', '/v1/chat/completions', 200],
      ['OPTIONS', '/graphql', 204],
      ['POST', '/graphql', 200],
      // The leave is remembered.
      ['POST', '/v1/chat/completions', 200],
    ]);
    const [preflight] = exchanges;
    expect(preflight?.cors['access-control-allow-headers']).toEqual(['authorization,content-type']);
    expectEachOnce(exchanges);
    expect(complaints).toEqual([]);
  });

  test('reads a streamed answer piece by piece', async () => {
    const { call } = await visitForeign();
    stack.simulators[0]?.script({ tokens: 30, paceMs: 30 });
    const chat = await call<{ status: number; requestId: string | null; chunks: string[] }>('streamChat', {
      ...CHAT,
      stream: true,
    });
    expect(chat).toMatchObject({ status: 200, requestId: expect.stringMatching(/./) });
    expect(chat.chunks.length).toBeGreaterThan(2);
    expect(chat.chunks.join('')).toMatch(/data: \[DONE\]\n\n$/);
  });

  test('uses the official OpenAI SDK, and reads its errors and limits', async () => {
    const { call, exchanges } = await visitForeign();
    const used = await call<Record<string, unknown>>('useOpenAI', CHAT);
    expect(used).toMatchObject({
      models: expect.arrayContaining([CHAT.model]),
      content: expect.stringMatching(/\w+/),
      remaining: expect.stringMatching(/^9\d\d$/),
      refusal: { name: 'AuthenticationError', status: 401, requestId: expect.stringMatching(/^req_/) },
    });
    expect(used['streamed']).toBe(used['content']);
    expect(exchanges.map(({ status }) => status)).toContain(401);
    expectEachOnce(exchanges);
  });

  test('stops the model when it leaves a stream of the SDK', async () => {
    const { call } = await visitForeign();
    const [simulator] = stack.simulators;
    simulator?.script({ tokens: 20, neverEnding: true });
    expect(await call<number>('leaveOpenAI', CHAT)).toBe(5);
    await simulator?.until(({ inFlight }) => inFlight === 0);
  });

  test('subscribes by WebSocket', async () => {
    const { call, requested, complaints } = await visitForeign();
    const results = await call<{ data: { chatCompletion: object } }[]>('subscribe', SUBSCRIPTION);
    const events = results.map(({ data }) => data.chatCompletion);
    expect(events.length).toBeGreaterThan(5);
    expect(events.at(-1)).toMatchObject({ __typename: 'ChatFinished' });
    expect(requested).toContain(`${stack.url.replace('http', 'ws')}/graphql`);
    expect(complaints).toEqual([]);
  });
});
