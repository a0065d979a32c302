import { afterEach, describe, expect, test } from '@jest/globals';
import { createSchema } from '../../../src/schema/index.ts';
import { createDocuments } from '../../../src/schema/serving/documents.ts';
import { DEFAULT_LIMITS } from '../../../src/schema/serving/limits.ts';
import { parseParams } from '../../../src/schema/serving/params.ts';
import { createTestClock } from '../../support/clock.ts';
import { content, createFakeGateway, finished, started } from '../../support/fake-gateway.ts';
import { graphqlBytes } from '../../support/graphql-bytes.ts';
import { BEARER, type GraphQLHarness, startGraphQLServer } from '../../support/graphql-server.ts';
import { openRawSocket } from '../../support/raw-socket.ts';
import { parseEvents, splitLinesAsPython } from '../../support/sse.ts';
import { until } from '../../support/until.ts';
import { openWsClient, type WsClient } from '../../support/ws-client.ts';

const opened: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function start(...options: Parameters<typeof startGraphQLServer>): Promise<GraphQLHarness> {
  const server = await startGraphQLServer(...options);
  opened.push(() => server.close());
  return server;
}

async function connect(server: GraphQLHarness): Promise<WsClient> {
  const client = await openWsClient(server.wsUrl);
  opened.push(() => client.socket.terminate());
  await client.init({ authorization: BEARER });
  return client;
}

describe('a caller who leaves a list of mutations', () => {
  const LIST = 'mutation { wait count }';

  test('over WebSocket leaves those that have not begun undone', async () => {
    const server = await start();
    const client = await connect(server);
    client.subscribe('a', LIST);
    await until(() => server.running() === 1);
    const executed = server.executed();
    client.send({ id: 'a', type: 'complete' });
    await until(() => server.running() === 0);
    client.send({ type: 'ping' });
    await client.next();
    expect(server.executed()).toBe(executed);
  });

  test('over HTTP leaves those that have not begun undone', async () => {
    const server = await start();
    const leaving = new AbortController();
    const headers = { authorization: BEARER, 'content-type': 'application/json' };
    const body = JSON.stringify({ query: LIST });
    const asked = fetch(server.url, { method: 'POST', headers, body, signal: leaving.signal });
    await until(() => server.running() === 1);
    const executed = server.executed();
    leaving.abort();
    await expect(asked).rejects.toThrow();
    await until(() => server.running() === 0);
    expect((await server.post({ query: '{ hello }' })).status).toBe(200);
    expect(server.executed()).toBe(executed + 1);
  });
});

test('the limits of a request come with its first event, and not again with every token', async () => {
  const fake = createFakeGateway();
  fake.limits = { mode: 'exact', requests: { limit: 60, remaining: 59, resetMs: 1000 } };
  fake.script = async function* () {
    yield [started()];
    for (const word of ['a', 'b', 'c']) yield [content(word)];
    yield [finished()];
  };
  const server = await start({}, { schema: createSchema(), gateway: { chat: fake.chat } });
  const client = await connect(server);
  client.subscribe(
    'a',
    'subscription($input: ChatCompletionInput!) { chatCompletion(input: $input) { __typename } }',
    { input: { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text: 'Hello' }] }] } },
  );
  const shown: boolean[] = [];
  for (let message = await client.next(); message.type === 'next'; message = await client.next()) {
    shown.push(JSON.stringify(message.payload).includes('rateLimit'));
  }
  expect(shown).toEqual([true, false, false, false, false]);
});

test('an event that cannot be shown ends the subscription and the chat behind it, and says nothing of why', async () => {
  const fake = createFakeGateway();
  const broken = content('a');
  Object.defineProperty(broken, 'text', {
    get() {
      throw new TypeError('a secret prompt broke it');
    },
  });
  fake.script = async function* (_request, signal) {
    yield [started(), broken];
    await new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined)));
  };
  const server = await start({}, { schema: createSchema(), gateway: { chat: fake.chat } });
  const client = await connect(server);
  client.subscribe(
    'a',
    'subscription($input: ChatCompletionInput!) { chatCompletion(input: $input) { ... on ChatStarted { model } ... on ChatFailed { error { code message } } } }',
    { input: { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text: 'Hello' }] }] } },
  );
  expect((await client.next()).payload?.data).toEqual({ chatCompletion: { model: 'llama3.1:8b' } });
  expect((await client.next()).payload?.data).toEqual({
    chatCompletion: { error: { code: 'INTERNAL', message: expect.not.stringContaining('secret') } },
  });
  expect((await client.next()).type).toBe('complete');
  await until(() => fake.running() === 0);
});

test('the head of an event stream has no limits, as it goes out before the decision; the first event has', async () => {
  const fake = createFakeGateway();
  fake.limits = { mode: 'exact', requests: { limit: 60, remaining: 59, resetMs: 1000 } };
  const server = await start({}, { schema: createSchema(), gateway: { chat: fake.chat } });
  const ask = (query: string, accept: string) => {
    const input = { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text: 'Hello' }] }] };
    return server.post({ query, variables: { input } }, { accept });
  };
  const remaining = 'x-ratelimit-remaining-requests';
  const stream = await ask(
    'subscription($input: ChatCompletionInput!) { chatCompletion(input: $input) { __typename } }',
    'text/event-stream',
  );
  expect(stream.headers.has(remaining)).toBe(false);
  const [first] = parseEvents(await stream.text()).data;
  expect(JSON.parse(first ?? '')).toMatchObject({
    extensions: { rateLimit: { requests: { remaining: 59 } } },
  });
  for (const accept of ['application/json', 'text/event-stream']) {
    const whole = await ask(
      'mutation($input: ChatCompletionInput!) { createChatCompletion(input: $input) { __typename } }',
      accept,
    );
    expect([accept, whole.headers.get(remaining)]).toEqual([accept, '59']);
    await whole.text();
  }
});

describe('event streams', () => {
  test('a refusal comes as one to a client that takes nothing else', async () => {
    const server = await start();
    const response = await server.post(
      { query: '{ there is no such field }' },
      { accept: 'text/event-stream' },
    );
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
    const text = await response.text();
    expect(text).toMatch(
      /^event: next\ndata: \{"errors":\[.*GRAPHQL_VALIDATION_FAILED.*\n\nevent: complete\ndata:\n\n$/,
    );
  });

  test('leave no timer behind', async () => {
    const clock = createTestClock();
    const server = await start({}, { clock });
    const before = clock.pending();
    const response = await server.post(
      { query: 'subscription { count(to: 3) }' },
      { accept: 'text/event-stream' },
    );
    await response.text();
    await until(() => clock.pending() === before);
    expect(server.watching()).toBe(0);
  });

  test('begin with a comment, and have another one whenever they have been silent', async () => {
    const clock = createTestClock();
    const server = await start({}, { clock });
    const response = await server.post({ query: 'subscription { said }' }, { accept: 'text/event-stream' });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    expect(await reader?.read()).toEqual({ done: false, value: ': ping\n\n' });
    await until(() => server.running() === 1);
    await clock.advance(11_000);
    server.say('something');
    expect((await reader?.read())?.value).toContain('something');
    await clock.advance(11_000);
    server.say('something else');
    expect((await reader?.read())?.value).toContain('something else');
    await clock.advance(12_000);
    expect(await reader?.read()).toEqual({ done: false, value: ': ping\n\n' });
    await reader?.cancel();
  });

  test('are not split by readers that know of more line ends than the standard', async () => {
    const server = await start();
    const response = await server.post({ query: 'subscription { said }' }, { accept: 'text/event-stream' });
    await until(() => server.running() === 1);
    const text = 'one\u2028two\u2029three\u0085four\r\nfive';
    server.say(text);
    server.revoke();
    const { data } = parseEvents(await response.text(), splitLinesAsPython);
    expect(JSON.parse(data[0] ?? '')).toEqual({ data: { said: text } });
  });

  test('show a failure without the status that it has as a single result', async () => {
    const server = await start();
    const response = await server.post(
      { query: 'subscription { refuses }' },
      { accept: 'text/event-stream' },
    );
    const [data] = parseEvents(await response.text()).data;
    expect(JSON.parse(data ?? '')).toMatchObject({ errors: [{ extensions: { code: 'NOT_HERE' } }] });
    expect(data).not.toContain('418');
  });

  test('that are left before it is the turn of their documents are never begun', async () => {
    const clock = createTestClock();
    const server = await start({}, { clock });
    const before = clock.pending();
    // All of them wait for their turns at once, more than there are until the server sees them leave.
    const requests: { readonly release: () => void; readonly leave: () => void }[] = [];
    for (let count = 1; count <= 30; count++) {
      const socket = await openRawSocket(server.port);
      requests.push({ release: server.holdAuthentication(), leave: socket.destroy });
      socket.send(graphqlBytes(`subscription { said } # unknown ${count}`, 'text/event-stream'));
      await until(() => server.authorizations.length === count);
    }
    for (const { release, leave } of requests) {
      release();
      leave();
    }
    await until(() => server.server.inFlight() === 0);
    const begun = server.executed();
    expect(begun).toBeLessThan(requests.length);
    // It is looked at after all of them.
    await server.post({ query: '{ hello }' });
    expect(server.executed()).toBe(begun + 1);
    expect([server.running(), server.watching(), clock.pending()]).toEqual([0, 0, before]);
  });
});

/** Opens a connection over which it can be asked, at once, how many resolvers have run. */
async function openCounter(server: GraphQLHarness): Promise<() => Promise<number>> {
  const socket = await openRawSocket(server.port);
  opened.push(() => socket.destroy());
  let answers = 0;
  return async () => {
    socket.send(graphqlBytes('{ executed }'));
    const pattern = new RegExp(`(?:"executed":(\\d+)[^]*){${++answers}}`);
    return Number(pattern.exec(await socket.until(pattern))?.[1]);
  };
}

describe('documents that nobody has sent yet, a hundred of them at once,', () => {
  const COUNT = 100;
  const queryOf = (index: number) => `{ a${index}: hello }`;

  test('let others through between them, over one WebSocket', async () => {
    const server = await start({ limits: { socket: { operations: COUNT } } });
    const client = await connect(server);
    const countExecuted = await openCounter(server);
    const before = await countExecuted();
    // One write, so that they arrive in one read.
    const raw = Reflect.get(client.socket, '_socket');
    raw.cork();
    for (let index = 0; index < COUNT; index++) client.subscribe(String(index), queryOf(index));
    raw.uncork();
    expect((await countExecuted()) - before).toBeLessThan(COUNT);
    await until(() => client.heard().length === 2 * COUNT);
  });

  test('let others through between them, over HTTP', async () => {
    const server = await start();
    const sockets = await Promise.all(Array.from({ length: COUNT }, () => openRawSocket(server.port)));
    opened.push(...sockets.map((socket) => () => socket.destroy()));
    const countExecuted = await openCounter(server);
    const before = await countExecuted();
    for (const [index, socket] of sockets.entries()) socket.send(graphqlBytes(queryOf(index)));
    expect((await countExecuted()) - before).toBeLessThan(COUNT);
    await Promise.all(sockets.map((socket) => socket.until(/Hello world/)));
  });
});

test('a socket that closes while its key is being looked up takes none of the places of its key', async () => {
  const server = await start({ limits: { socket: { perKey: 1 } } });
  for (let count = 0; count < 3; count++) {
    const client = await openWsClient(server.wsUrl);
    const release = server.holdAuthentication();
    client.send({ type: 'connection_init', payload: { authorization: BEARER } });
    await until(() => server.authorizations.length === count + 1);
    client.socket.terminate();
    await until(() => server.sockets() === 0);
    release();
  }
  const client = await connect(server);
  client.subscribe('a', '{ hello }');
  expect((await client.next()).type).toBe('next');
});

describe('documents', () => {
  const limits = DEFAULT_LIMITS.document;
  const persisted = { manifest: new Map<string, string>(), only: false };
  const documents = createDocuments({ schema: createSchema(), limits, persisted, openToView: true });

  test('that are valid are parsed and validated once', () => {
    const params = parseParams({ query: '{ viewer { name } }' });
    expect(documents.isKnown(params)).toBe(false);
    const first = documents.prepare(params);
    expect(documents.isKnown(params)).toBe(true);
    expect(documents.prepare(params).document).toBe(first.document);
  });

  test('that are not are looked at each time', () => {
    const params = parseParams({ query: '{ viewer { nobody } }' });
    for (let count = 0; count < 2; count++) {
      expect(() => documents.prepare(params)).toThrow();
      expect(documents.isKnown(params)).toBe(false);
    }
  });
});
