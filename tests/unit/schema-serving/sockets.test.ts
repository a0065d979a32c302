import { once } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { SchemaGateway } from '../../../src/schema/context.ts';
import { createSchema } from '../../../src/schema/index.ts';
import type { GraphQLServerConfig } from '../../../src/schema/serving/index.ts';
import { createTestClock } from '../../support/clock.ts';
import { graphqlBytes } from '../../support/graphql-bytes.ts';
import { BEARER, type GraphQLHarness, OTHER_KEY, startGraphQLServer } from '../../support/graphql-server.ts';
import { openRawSocket } from '../../support/raw-socket.ts';
import { readEvents } from '../../support/sse.ts';
import { until } from '../../support/until.ts';
import { openWsClient, refusedHandshake, type WsClient } from '../../support/ws-client.ts';

const AUTHORIZATION = { authorization: BEARER };
const opened: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function start(
  config: Partial<GraphQLServerConfig> = {},
  over: Parameters<typeof startGraphQLServer>[1] = {},
): Promise<GraphQLHarness> {
  const server = await startGraphQLServer(config, over);
  opened.push(() => server.close());
  return server;
}

async function connect(
  server: GraphQLHarness,
  payload: object = AUTHORIZATION,
  options?: Parameters<typeof openWsClient>[1],
): Promise<WsClient> {
  const client = await openWsClient(server.wsUrl, options);
  opened.push(() => client.socket.terminate());
  await client.init(payload);
  return client;
}

describe('handshakes', () => {
  test('a foreign origin is refused with 403 where origins are listed, and is welcome where they are not', async () => {
    const listed = await start({ corsOrigins: ['https://app.example'] });
    for (const origin of [
      'https://evil.example',
      'null',
      'https://app.example.evil.example',
      'http://app.example',
    ]) {
      expect([origin, await refusedHandshake(listed.wsUrl, { origin })]).toEqual([origin, 403]);
    }
    await connect(listed, AUTHORIZATION, { origin: 'https://app.example' });
    await connect(listed);
    await connect(await start(), AUTHORIZATION, { origin: 'https://evil.example' });
  });

  test('another path is refused with 404', async () => {
    const server = await start();
    const url = server.wsUrl.replace('/graphql', '/graphql/x');
    expect(await refusedHandshake(url)).toBe(404);
  });

  test('more sockets of one address than allowed are refused with 429, until one has closed', async () => {
    const server = await start({ limits: { socket: { perAddress: 2 } } });
    const first = await connect(server);
    await connect(server);
    expect(await refusedHandshake(server.wsUrl)).toBe(429);
    first.socket.close();
    await first.closed;
    await connect(server);
  });

  test('behind a trusted proxy the address is the one that the proxy has seen', async () => {
    const server = await start({ trustedProxies: 1, limits: { socket: { perAddress: 1 } } });
    const from = (address: string) => ({ 'x-forwarded-for': address });
    await connect(server, AUTHORIZATION, { headers: from('10.0.0.1') });
    expect(await refusedHandshake(server.wsUrl, from('10.9.9.9, 10.0.0.1'))).toBe(429);
    await connect(server, AUTHORIZATION, { headers: from('10.0.0.1, 10.0.0.2') });
  });

  test('more sockets of one key than allowed are closed with 1013; other keys are not concerned', async () => {
    const server = await start({ limits: { socket: { perKey: 1 } } });
    const first = await connect(server);
    const second = await openWsClient(server.wsUrl);
    second.send({ type: 'connection_init', payload: AUTHORIZATION });
    expect((await second.closed).code).toBe(1013);
    await connect(server, { authorization: `Bearer ${OTHER_KEY}` });
    first.socket.close();
    await first.closed;
    await connect(server);
  });
});

describe('what one socket may take', () => {
  test('a message larger than a request may be closes with 1009', async () => {
    const server = await start({ maxBodyBytes: 10_000 });
    const client = await connect(server);
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    client.send('x'.repeat(10_001));
    expect((await client.closed).code).toBe(1009);
    await until(() => server.running() === 0);
  });

  test('before its key is known a socket may send little, in messages or in pieces of them', async () => {
    const server = await start({ limits: { socket: { bytesBeforeInit: 1000 } } });
    const whole = await openWsClient(server.wsUrl);
    whole.send({ type: 'ping', payload: { x: 'x'.repeat(2000) } });
    expect((await whole.closed).code).toBe(1009);
    const pieces = await openWsClient(server.wsUrl);
    for (let index = 0; index < 400; index++) pieces.socket.send('xxxx', { fin: false });
    expect((await pieces.closed).code).toBe(1009);
    const known = await connect(server);
    known.subscribe('a', '{ hello }', { unused: 'x'.repeat(5000) });
    expect((await known.next()).type).toBe('next');
  });

  test('unfinished fragments without end close the socket', async () => {
    const server = await start();
    const client = await connect(server);
    client.socket.send('x', { fin: false });
    for (let index = 0; index < 2000; index++) client.socket.send('', { fin: false });
    expect([1008, 1009, 1006]).toContain((await client.closed).code);
  });

  test('a message that does not come to its end in time closes with 1008, whatever comes in between', async () => {
    const clock = createTestClock();
    const server = await start({ limits: { socket: { messageMs: 5000, pingMs: 1e9 } } }, { clock });
    const client = await connect(server);
    client.send({ type: 'ping' });
    await client.next();
    const idle = clock.pending();
    await clock.advance(5000);
    client.socket.send('{"type":', { fin: false });
    await until(() => clock.pending() > idle);
    await clock.advance(4999);
    client.socket.send('"ping"}', { fin: true });
    expect((await client.next()).type).toBe('pong');
    expect(clock.pending()).toBe(idle);

    client.socket.send('{"type":', { fin: false });
    await until(() => clock.pending() > idle);
    client.socket.ping();
    await once(client.socket, 'pong');
    await clock.advance(5000);
    expect(await client.closed).toEqual({ code: 1008, reason: 'A message took too long' });
  });

  test('what all sockets of a key have begun to send and not finished is bounded, and comes back', async () => {
    const server = await start({ maxBodyBytes: 1000, limits: { socket: { unfinishedPerKey: 1000 } } });
    const [first, second, third] = [await connect(server), await connect(server), await connect(server)];
    const begin = async (client: WsClient) => {
      client.socket.send(`{"type":"ping","payload":{"x":"${'x'.repeat(600)}`, { fin: false });
      client.socket.ping();
      await once(client.socket, 'pong');
    };
    await begin(first);
    await Promise.race([begin(second), second.closed]);
    expect((await second.closed).code).toBe(1013);
    first.socket.send('"}}', { fin: true });
    expect((await first.next()).type).toBe('pong');
    await begin(third);
    third.socket.terminate();
    await until(() => server.watching() === 1);
    await begin(first);
  });

  test('operations beyond the cap are refused one by one; the socket and the others live on', async () => {
    const server = await start({ limits: { socket: { operations: 3 } } });
    const client = await connect(server);
    for (const id of ['a', 'b', 'c', 'd']) client.subscribe(id, 'subscription { said }');
    const { id, type, payload } = await client.next();
    expect([id, type, payload?.[0]?.extensions.code]).toEqual(['d', 'error', 'TOO_MANY_OPERATIONS']);
    expect(server.running()).toBe(3);
    client.send({ id: 'a', type: 'complete' });
    await until(() => server.running() === 2);
    client.subscribe('e', 'subscription { said }');
    await until(() => server.running() === 3);
  });

  test('a ping that says much closes with 1009: it would be sent back', async () => {
    const server = await start();
    const client = await connect(server);
    client.send({ type: 'ping', payload: { x: 'x'.repeat(900) } });
    expect((await client.next()).payload).toEqual({ x: 'x'.repeat(900) });
    client.send({ type: 'ping', payload: { x: 'x'.repeat(1000) } });
    expect((await client.closed).code).toBe(1009);
  });

  test('who sends on and does not read what comes of it is cut off', async () => {
    const socket = { operations: 2, repliesUnread: 5, messageBurst: 1e6, pingMs: 1e9, closeMs: 50 };
    const server = await start({ limits: { socket } });
    const client = await connect(server);
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    client.socket.pause();
    // What the kernel's buffers take is not the server's.
    for (let size = 0; size < 20_000_000; size += 1_000_000) server.say('x'.repeat(1_000_000));
    for (let count = 0; count < 20; count++)
      client.subscribe(`refused ${count}`, '{ there is no such field }');
    await until(() => server.running() === 0 && server.watching() === 0);
  });

  test.each([
    ['messages', (client: WsClient) => client.send({ type: 'pong' })],
    ['pings of WebSocket', (client: WsClient) => client.socket.ping()],
    ['pongs of WebSocket', (client: WsClient) => client.socket.pong()],
  ])('a flood of %s closes with 1008, and its operations end', async (_name, flood) => {
    const server = await start({ limits: { socket: { messageBurst: 50, messagesPerSecond: 1 } } });
    const client = await connect(server);
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    for (let count = 0; count < 60; count++) flood(client);
    expect(await client.closed).toEqual({ code: 1008, reason: 'Too many messages' });
    await until(() => server.running() === 0);
  });
});

/** A subscription whose reader takes nothing. */
async function startUnread(socket: { readonly pingMs: number; readonly stallMs: number }) {
  const clock = createTestClock();
  const server = await start({ limits: { socket } }, { clock });
  const client = await connect(server);
  client.subscribe('a', 'subscription { said }');
  await until(() => server.running() === 1);
  client.socket.pause();
  return { clock, server, client };
}

/** The kernel's buffers take much that is not read. */
async function sayUntilUnheard(server: Awaited<ReturnType<typeof start>>): Promise<void> {
  const text = 'x'.repeat(1_000_000);
  while (server.unheard() === 0) {
    server.say(text);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('sockets that nobody is behind any more', () => {
  test('who does not answer a ping is cut off when the next is due; who does, is not', async () => {
    const clock = createTestClock();
    const server = await start({ limits: { socket: { pingMs: 1000 } } }, { clock });
    const alive = await connect(server);
    const dead = await connect(server);
    dead.socket.pause();
    dead.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    const pinged = once(alive.socket, 'ping');
    await clock.advance(1000);
    await pinged;
    // The pong has to make its way back.
    alive.send({ type: 'ping' });
    await alive.next();
    await clock.advance(1000);
    await until(() => server.running() === 0);
    alive.subscribe('b', '{ hello }');
    expect((await alive.next()).type).toBe('next');
  });

  test('who does not answer a ping because much else is on its way is left to the stall limit', async () => {
    const { clock, server } = await startUnread({ pingMs: 1000, stallMs: 10_000 });
    await sayUntilUnheard(server);
    await clock.advance(9999);
    expect(server.watching()).toBe(1);
    await clock.advance(1);
    await until(() => server.watching() === 0);
  });

  test('a reader that has stopped reading holds little, and is cut off after the stall limit', async () => {
    const { clock, server } = await startUnread({ pingMs: 1e9, stallMs: 5000 });
    await sayUntilUnheard(server);
    for (let count = 0; count < 20; count++) server.say('more');
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(server.unheard()).toBeGreaterThanOrEqual(20);
    await clock.advance(4999);
    expect(server.running()).toBe(1);
    await clock.advance(1);
    await until(() => server.running() === 0);
  });

  test('a reader that reads now and then is not cut off, however little it takes', async () => {
    const { clock, server, client } = await startUnread({ pingMs: 1e9, stallMs: 5000 });
    for (let times = 0; times < 3; times++) {
      await sayUntilUnheard(server);
      await clock.advance(4000);
      client.socket.resume();
      await until(() => server.unheard() === 0);
      client.socket.pause();
      await clock.advance(4000);
    }
    expect(server.running()).toBe(1);
  });
});

describe('keys that change', () => {
  test('change for the next operation of a socket that is open', async () => {
    const server = await start();
    const client = await connect(server);
    server.amend({ name: 'renamed' });
    client.subscribe('a', '{ keyName }');
    expect((await client.next()).payload).toEqual({ data: { keyName: 'renamed' } });
  });

  test('change for the limits that are being followed, over WebSocket and as an event stream', async () => {
    const clock = createTestClock();
    const gateway: Partial<SchemaGateway> = {
      limits: async ({ limits: { requestsPerMinute: limit = 0 } }) => ({
        mode: 'exact',
        requests: { limit, remaining: limit, resetMs: 0 },
      }),
    };
    const server = await start({}, { clock, schema: createSchema(), gateway });
    const query = 'subscription { viewerLimits { requests { limit } } }';
    const limitOf = (limit: number) => ({ data: { viewerLimits: { requests: { limit } } } });
    const client = await connect(server);
    client.subscribe('a', query);
    expect((await client.next()).payload).toMatchObject(limitOf(60));
    const stream = readEvents(await server.post({ query }, { accept: 'text/event-stream' }));
    expect((await stream.next()).value).toMatchObject(limitOf(60));
    server.amend({ limits: { requestsPerMinute: 7 } });
    await clock.advance(1000);
    expect((await client.next()).payload).toMatchObject(limitOf(7));
    expect((await stream.next()).value).toMatchObject(limitOf(7));
    await stream.return(undefined);
  });
});

test('a thousand who follow the limits of one key cost one look at a time', async () => {
  const clock = createTestClock();
  let looks = 0;
  const gateway: Partial<SchemaGateway> = {
    async limits() {
      looks++;
      return { mode: 'exact', requests: { limit: 1000, remaining: looks, resetMs: 0 } };
    },
  };
  const server = await start(
    { limits: { socket: { operations: 1000, messageBurst: 2000 } } },
    { clock, schema: createSchema(), gateway },
  );
  const client = await connect(server);
  const query = 'subscription { viewerLimits { requests { remaining } } }';
  for (let count = 0; count < 1000; count++) client.subscribe(String(count), query);
  for (let count = 0; count < 1000; count++) await client.next();
  expect(looks).toBe(1);
  await clock.advance(1000);
  for (let count = 0; count < 1000; count++) {
    expect((await client.next()).payload).toMatchObject({
      data: { viewerLimits: { requests: { remaining: 2 } } },
    });
  }
  expect(looks).toBe(2);
});

describe('keys that end', () => {
  test('end the operations and the socket with 4403 at once, and nothing is executed any more', async () => {
    const server = await start();
    const client = await connect(server);
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    const before = server.executed();
    server.revoke();
    client.subscribe('b', 'mutation { count }');
    expect(await client.closed).toEqual({ code: 4403, reason: 'Forbidden' });
    await until(() => server.running() === 0 && server.watching() === 0);
    expect(server.executed()).toBe(before);
  });

  test('end an event stream too', async () => {
    const server = await start();
    const response = await server.post({ query: 'subscription { said }' }, { accept: 'text/event-stream' });
    await until(() => server.running() === 1);
    server.revoke();
    expect(await response.text()).toContain('event: complete');
    await until(() => server.running() === 0 && server.watching() === 0);
  });
});

test('limits that are followed as an event stream say why they end', async () => {
  const gateway: Partial<SchemaGateway> = {
    limits: async () => ({ mode: 'exact' }),
  };
  const server = await start({}, { clock: createTestClock(), schema: createSchema(), gateway });
  const query = 'subscription { viewerLimits { mode } }';
  const stream = readEvents(await server.post({ query }, { accept: 'text/event-stream' }));
  expect((await stream.next()).value).toMatchObject({ data: { viewerLimits: { mode: 'EXACT' } } });
  server.revoke();
  expect((await stream.next()).value).toMatchObject({
    errors: [{ extensions: { code: 'INVALID_API_KEY' } }],
  });
  expect((await stream.next()).done).toBe(true);
});

describe('a server that drains', () => {
  test('closes idle sockets with 1001, lets operations end, and then closes theirs', async () => {
    const server = await start();
    const idle = await connect(server);
    const busy = await connect(server);
    busy.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    const drained = server.server.drain(10_000);
    expect(await idle.closed).toEqual({ code: 1001, reason: 'Going away' });
    server.say('last words');
    expect((await busy.next()).payload).toEqual({ data: { said: 'last words' } });
    busy.send({ id: 'a', type: 'complete' });
    expect(await busy.closed).toEqual({ code: 1001, reason: 'Going away' });
    await drained;
  });

  test('never begins what comes now, so that a client can send it elsewhere after the close', async () => {
    const server = await start();
    const client = await connect(server);
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    const executed = server.executed();
    const drained = server.server.drain(10_000);
    client.subscribe('b', '{ hello }');
    client.subscribe('c', 'mutation { count }');
    client.subscribe('d', '{ there is no such field }');
    const refused = await client.next();
    expect([refused.id, refused.type]).toEqual(['d', 'error']);
    client.send({ id: 'a', type: 'complete' });
    expect((await client.closed).code).toBe(1001);
    await drained;
    expect(client.heard()).toEqual([]);
    expect(server.executed()).toBe(executed);
  });

  test('keeps no more operations waiting for the close than may run at once', async () => {
    const server = await start({ limits: { socket: { operations: 3 } } });
    const client = await connect(server);
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    const drained = server.server.drain(10_000);
    for (const id of ['b', 'c', 'd']) client.subscribe(id, '{ hello }');
    const refused = await client.next();
    expect([refused.id, refused.payload?.[0]?.extensions.code]).toEqual(['d', 'TOO_MANY_OPERATIONS']);
    client.send({ id: 'b', type: 'complete' });
    client.subscribe('e', '{ hello }');
    client.subscribe('f', '{ hello }');
    expect((await client.next()).id).toBe('f');
    client.send({ id: 'a', type: 'complete' });
    expect((await client.closed).code).toBe(1001);
    await drained;
  });

  test('ends limits that are followed at once, however seldom they are looked at', async () => {
    const gateway: Partial<SchemaGateway> = {
      limits: async () => ({ mode: 'exact' }),
    };
    const server = await start({}, { clock: createTestClock(), schema: createSchema(), gateway });
    const query = 'subscription { viewerLimits(everyMs: 60000) { mode } }';
    const client = await connect(server);
    client.subscribe('a', query);
    expect((await client.next()).payload).toMatchObject({ data: { viewerLimits: { mode: 'EXACT' } } });
    const stream = readEvents(await server.post({ query }, { accept: 'text/event-stream' }));
    expect((await stream.next()).value).toMatchObject({ data: { viewerLimits: { mode: 'EXACT' } } });
    const drained = server.server.drain(60_000);
    expect(await client.next()).toEqual({ id: 'a', type: 'complete' });
    expect(await client.closed).toEqual({ code: 1001, reason: 'Going away' });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await drained;
  });

  test('the last message of an operation comes before the close', async () => {
    const server = await start();
    const client = await connect(server);
    client.subscribe('a', 'subscription { count(to: 500) }');
    await client.next();
    const drained = server.server.drain(10_000);
    const types: string[] = [];
    for (let index = 1; index <= 500; index++) types.push((await client.next()).type);
    expect([types.filter((type) => type === 'next').length, types.at(-1)]).toEqual([499, 'complete']);
    expect((await client.closed).code).toBe(1001);
    await drained;
  });
});

describe('event streams', () => {
  test('leaving one ends its stream at once', async () => {
    const server = await start();
    const leaving = new AbortController();
    const response = await fetch(server.url, {
      method: 'POST',
      headers: { authorization: BEARER, 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({ query: 'subscription { said }' }),
      signal: leaving.signal,
    });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    await until(() => server.running() === 1);
    leaving.abort();
    await response.text().catch(() => undefined);
    await until(() => server.running() === 0 && server.watching() === 0);
  });

  test('aborting the request of a mutation ends its resolver at once', async () => {
    const server = await start();
    const leaving = new AbortController();
    const request = fetch(server.url, {
      method: 'POST',
      headers: { authorization: BEARER, 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'mutation { wait }' }),
      signal: leaving.signal,
    });
    await until(() => server.running() === 1);
    leaving.abort();
    await request.catch(() => undefined);
    await until(() => server.running() === 0);
    expect(server.logs).toEqual([]);
  });

  test('a reader that has stopped reading is cut off after the stall limit', async () => {
    const clock = createTestClock();
    const server = await start({ limits: { stallMs: 5000 } }, { clock });
    const socket = await openRawSocket(server.port);
    opened.push(() => socket.destroy());
    socket.send(graphqlBytes('subscription { said }', 'text/event-stream'));
    await until(() => server.running() === 1);
    socket.stopReading();
    for (let count = 0; count < 30; count++) {
      server.say('x'.repeat(1_000_000));
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    await clock.advance(5000);
    await clock.advance(5000);
    await until(() => server.running() === 0);
  });
});

test('who does not read a large answer is cut off after the stall limit, too', async () => {
  const clock = createTestClock();
  const server = await start({ limits: { stallMs: 5000 }, maxBodyBytes: 20_000_000 }, { clock });
  const before = clock.pending();
  const socket = await openRawSocket(server.port);
  opened.push(() => socket.destroy());
  socket.stopReading();
  const variables = { name: 'x'.repeat(15_000_000) };
  socket.send(graphqlBytes('query($name: String) { hello(name: $name) }', 'application/json', variables));
  await until(() => server.executed() === 1);
  // What the system takes has been taken by then.
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(server.server.inFlight()).toBe(1);
  await clock.advance(5000);
  await clock.advance(5000);
  await until(() => server.server.inFlight() === 0);
  expect(clock.pending()).toBe(before);
});

test('documents that are new take turns, over however many sockets they come', async () => {
  const server = await start();
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(server)));
  for (const [index, client] of clients.entries()) client.subscribe('a', `mutation { a${index}: count }`);
  let [most, last] = [0, 0];
  while (last < clients.length) {
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, server.executed() - last);
    last = server.executed();
  }
  expect(most).toBe(1);
});

test('an operation that is completed before its turn comes is never begun', async () => {
  const server = await start();
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(server)));
  for (const [index, client] of clients.entries()) client.subscribe('a', `mutation { a${index}: count }`);
  const last = clients.at(-1);
  last?.send({ id: 'a', type: 'complete' });
  await until(() => server.executed() === clients.length - 1);
  // It is looked at after all of them.
  last?.subscribe('b', '{ executed }');
  expect(await last?.next()).toMatchObject({ id: 'b', payload: { data: { executed: clients.length - 1 } } });
});

test('10,000 subscriptions opened and closed leave nothing behind', async () => {
  const server = await start({ limits: { socket: { messageBurst: 1e9, operations: 200 } } });
  const client = await connect(server);
  for (let round = 0; round < 100; round++) {
    for (let index = 0; index < 100; index++) client.subscribe(`${round}-${index}`, 'subscription { said }');
    await until(() => server.running() === 100);
    for (let index = 0; index < 100; index++) client.send({ id: `${round}-${index}`, type: 'complete' });
    await until(() => server.running() === 0);
  }
  expect(server.executed()).toBe(10_000);
  expect(client.heard()).toEqual([]);
});
