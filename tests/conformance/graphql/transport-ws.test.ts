/** The subprotocol `graphql-transport-ws`, rule by rule. Section names are those of the protocol's text. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../src/domain/error.ts';
import { BEARER, type GraphQLHarness, startGraphQLServer } from '../../support/graphql-server.ts';
import { openRawSocket } from '../../support/raw-socket.ts';
import { until } from '../../support/until.ts';
import { openWsClient, type WsClient } from '../../support/ws-client.ts';

const AUTHORIZATION = { authorization: BEARER };

let server: GraphQLHarness;
const clients: WsClient[] = [];
beforeAll(async () => {
  server = await startGraphQLServer({ limits: { socket: { initTimeoutMs: 300 } } });
});
afterEach(() => {
  for (const client of clients.splice(0)) client.socket.terminate();
});
afterAll(() => server.close());

async function open(options?: Parameters<typeof openWsClient>[1]): Promise<WsClient> {
  const client = await openWsClient(server.wsUrl, options);
  clients.push(client);
  return client;
}

/** A client whose connection has been acknowledged. */
async function connect(): Promise<WsClient> {
  const client = await open();
  await client.init(AUTHORIZATION);
  return client;
}

describe('Communication', () => {
  test('GWS-01 a socket without the subprotocol is closed with 4406', async () => {
    const client = await open({ protocols: [] });
    expect(await client.closed).toEqual({ code: 4406, reason: 'Subprotocol not acceptable' });
  });

  test('GWS-01 so is a socket that offers only others; of several, the one that is known is taken', async () => {
    const { socket } = await open({ protocols: ['graphql-ws', 'graphql-transport-ws'] });
    expect(socket.protocol).toBe('graphql-transport-ws');
    // No library for WebSocket goes on where none of its subprotocols is accepted, as a browser does not.
    const raw = await openRawSocket(server.port);
    raw.send(
      'GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-ws\r\n\r\n',
    );
    const received = await raw.until(/\r\n\r\n.*acceptable$/s);
    raw.destroy();
    expect(received).toMatch(/^HTTP\/1\.1 101 /);
    expect(received).not.toMatch(/^sec-websocket-protocol/im);
    // A frame of the type that closes, its length, the code, and the reason.
    const reason = 'Subprotocol not acceptable';
    const frame = [0x88, 2 + reason.length, 4406 >> 8, 4406 & 0xff];
    expect(received.split('\r\n\r\n')[1]).toBe(String.fromCharCode(...frame) + reason);
  });

  test('GWS-02 operations with different ids are active at once, their messages interleaved', async () => {
    const client = await connect();
    client.subscribe('a', 'subscription { said }');
    client.subscribe('b', 'subscription { said }');
    await until(() => server.running() === 2);
    server.say('hello');
    const ids = [(await client.next()).id, (await client.next()).id];
    expect(ids.sort()).toEqual(['a', 'b']);
    client.socket.close(1000);
    await until(() => server.running() === 0);
  });

  test('GWS-03 a client that closes with 1000 is answered with 1000, and its operations end', async () => {
    const client = await connect();
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    client.socket.close(1000, 'Normal Closure');
    expect((await client.closed).code).toBe(1000);
    await until(() => server.running() === 0);
  });
});

describe('ConnectionInit', () => {
  test('GWS-04 without it the socket is closed with 4408', async () => {
    const client = await open();
    expect(await client.closed).toEqual({ code: 4408, reason: 'Connection initialisation timeout' });
  });

  test('GWS-05 a second one, before or after the acknowledgement, closes with 4429', async () => {
    const early = await open();
    early.send({ type: 'connection_init', payload: AUTHORIZATION });
    early.send({ type: 'connection_init', payload: AUTHORIZATION });
    expect(await early.closed).toEqual({ code: 4429, reason: 'Too many initialisation requests' });
    const late = await connect();
    late.send({ type: 'connection_init', payload: AUTHORIZATION });
    expect((await late.closed).code).toBe(4429);
  });

  test.each([
    ['no payload', undefined],
    ['no key', {}],
    ['a wrong key', { authorization: 'Bearer llmgw_wrong' }],
    ['a key under another name', { authToken: BEARER, Authorization: BEARER, headers: AUTHORIZATION }],
    ['a key that is no text', { authorization: { toString: BEARER } }],
    ['several keys', { authorization: [BEARER, BEARER] }],
    ['a list of one key', { authorization: [BEARER] }],
  ])('GWS-06 with %s the connection is refused with 4403', async (_name, payload) => {
    const client = await open();
    client.send({ type: 'connection_init', payload });
    expect(await client.closed).toEqual({ code: 4403, reason: 'Forbidden' });
  });

  test('GWS-07 the key may also come with the handshake, and the parameters go before it', async () => {
    const client = await open({ headers: AUTHORIZATION });
    await client.init();
    const other = await open({ headers: AUTHORIZATION });
    other.send({ type: 'connection_init', payload: { authorization: 'Bearer llmgw_wrong' } });
    expect((await other.closed).code).toBe(4403);
  });

  test('GWS-08 a key that cannot be looked up is no refusal: 1013, to be tried again', async () => {
    const client = await open();
    server.failAuthentication(new GatewayError('storage_unavailable', 'Not now.'));
    client.send({ type: 'connection_init', payload: AUTHORIZATION });
    expect(await client.closed).toEqual({ code: 1013, reason: 'Try again later' });
  });

  test('GWS-09 a mistake of the server closes with 4500 and says nothing about it', async () => {
    const client = await open();
    server.failAuthentication(new TypeError('a secret came out'));
    client.send({ type: 'connection_init', payload: AUTHORIZATION });
    expect(await client.closed).toEqual({ code: 4500, reason: 'Internal server error' });
    expect(server.logs.at(-1)?.fields).toMatchObject({ error: 'TypeError' });
    expect(JSON.stringify(server.logs)).not.toContain('a secret came out');
  });
});

describe('Ping and Pong', () => {
  test('GWS-10 a ping is answered at once, with its payload, also before the acknowledgement', async () => {
    const client = await open();
    client.send({ type: 'ping', payload: { at: 1 } });
    expect(await client.next()).toEqual({ type: 'pong', payload: { at: 1 } });
    client.send({ type: 'ping' });
    expect(await client.next()).toEqual({ type: 'pong' });
  });

  test('GWS-11 a pong that nobody asked for is taken as a heartbeat', async () => {
    const client = await connect();
    client.send({ type: 'pong' });
    client.subscribe('a', '{ hello }');
    expect((await client.next()).type).toBe('next');
  });
});

describe('Subscribe', () => {
  test('GWS-12 before the acknowledgement it closes with 4401 and executes nothing', async () => {
    const before = server.executed();
    const client = await open();
    client.subscribe('a', 'mutation { count }');
    expect(await client.closed).toEqual({ code: 4401, reason: 'Unauthorized' });
    expect(server.executed()).toBe(before);
  });

  test('GWS-13 with the id of an active operation it closes with 4409, and the operation ends', async () => {
    const client = await connect();
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    client.subscribe('a', '{ hello }');
    expect(await client.closed).toEqual({ code: 4409, reason: 'Subscriber for a already exists' });
    await until(() => server.running() === 0);
  });

  test('GWS-14 an id that has completed is free to be used again', async () => {
    const client = await connect();
    for (let round = 0; round < 3; round++) {
      client.subscribe('a', '{ hello }');
      expect([(await client.next()).type, (await client.next()).type]).toEqual(['next', 'complete']);
    }
  });

  test('GWS-27 an id that the client has completed is free at once, for a stream of its own', async () => {
    const client = await connect();
    for (let round = 0; round < 20; round++) {
      client.subscribe('a', 'subscription { said }');
      client.send({ id: 'a', type: 'complete' });
    }
    client.subscribe('a', 'subscription { said }');
    client.send({ type: 'ping' });
    expect((await client.next()).type).toBe('pong');
    await until(() => server.running() === 1);
    server.say('still there');
    expect(await client.next()).toEqual({
      id: 'a',
      type: 'next',
      payload: { data: { said: 'still there' } },
    });
    client.send({ id: 'a', type: 'complete' });
    await until(() => server.running() === 0);
  });

  test('GWS-28 an id whose refusal is still on its way is free for an operation that can be completed', async () => {
    const client = await connect();
    client.subscribe('filler', 'subscription { said }');
    await until(() => server.running() === 1);
    client.socket.pause();
    // What the kernel's buffers take is on its way at once.
    for (let size = 0; size < 20_000_000; size += 1_000_000) server.say('x'.repeat(1_000_000));
    client.subscribe('a', '{ there is no such field }');
    client.send({ id: 'a', type: 'complete' });
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 2);
    client.socket.resume();
    client.send({ id: 'filler', type: 'complete' });
    await until(() => server.running() === 1);
    client.send({ id: 'a', type: 'complete' });
    await until(() => server.running() === 0);
  });

  test('GWS-29 an id may be 256 characters long; a longer one closes with 4400', async () => {
    const client = await connect();
    client.subscribe('x'.repeat(256), '{ hello }');
    expect((await client.next()).id).toBe('x'.repeat(256));
    client.subscribe('x'.repeat(257), '{ hello }');
    expect(await client.closed).toEqual({ code: 4400, reason: 'The id is too long' });
  });

  test('GWS-30 a long id that is in use closes with 4409 too', async () => {
    const client = await connect();
    for (let count = 0; count < 2; count++) client.subscribe('x'.repeat(200), 'subscription { said }');
    expect((await client.closed).code).toBe(4409);
  });

  test('GWS-15 ids that are names of Object.prototype are ids like any other', async () => {
    const client = await connect();
    for (const id of ['__proto__', 'constructor', 'toString']) {
      client.subscribe(id, '{ hello }');
      expect([(await client.next()).id, (await client.next()).id]).toEqual([id, id]);
    }
  });
});

describe('Next, Error and Complete', () => {
  test('GWS-16 a subscription is its results and then its completion', async () => {
    const client = await connect();
    client.subscribe('a', 'subscription { count(to: 2) }');
    expect([await client.next(), await client.next(), await client.next()]).toEqual([
      { id: 'a', type: 'next', payload: { data: { count: 1 } } },
      { id: 'a', type: 'next', payload: { data: { count: 2 } } },
      { id: 'a', type: 'complete' },
    ]);
  });

  test('GWS-17 a query and a mutation are one result and the completion', async () => {
    const client = await connect();
    for (const query of ['{ hello }', 'mutation { count }']) {
      client.subscribe('a', query);
      expect([(await client.next()).type, (await client.next()).type]).toEqual(['next', 'complete']);
    }
  });

  test.each([
    ['{', 'GRAPHQL_PARSE_FAILED'],
    ['{ hallo }', 'GRAPHQL_VALIDATION_FAILED'],
    ['fragment F on Query { hello }', 'OPERATION_RESOLUTION_FAILURE'],
    ['{ users(first: 20000) { edges { node { id } } } }', 'DOCUMENT_TOO_COMPLEX'],
  ])('GWS-18 the document %s is answered by an error, and no completion follows', async (query, code) => {
    const client = await connect();
    client.subscribe('a', query);
    const { id, type, payload } = await client.next();
    expect([id, type, payload?.[0]?.extensions]).toMatchObject(['a', 'error', { code }]);
    expect(JSON.stringify(payload)).not.toContain('"http"');
    client.subscribe('b', '{ hello }');
    expect((await client.next()).id).toBe('b');
  });

  test('GWS-19 after the client has completed a stream nothing of it comes, and it ends at once', async () => {
    const client = await connect();
    client.subscribe('a', 'subscription { said }');
    await until(() => server.running() === 1);
    client.send({ id: 'a', type: 'complete' });
    await until(() => server.running() === 0);
    server.say('too late');
    client.subscribe('b', '{ hello }');
    expect([(await client.next()).id, (await client.next()).id]).toEqual(['b', 'b']);
  });

  test.each(['{ wait }', 'mutation { wait }'])(
    'GWS-20 the result of %s, completed by the client before it was there, is not sent, and its resolver ends',
    async (query) => {
      const client = await connect();
      client.subscribe('a', query);
      await until(() => server.running() === 1);
      client.send({ id: 'a', type: 'complete' });
      await until(() => server.running() === 0);
      client.subscribe('b', '{ hello }');
      expect([(await client.next()).id, (await client.next()).id]).toEqual(['b', 'b']);
    },
  );

  test('GWS-21 a completion in the same breath as the subscription leaves nothing running', async () => {
    const client = await connect();
    const { socket } = client;
    // One write, so that both arrive in one read.
    const message = (type: string, payload?: object) => JSON.stringify({ id: 'a', type, payload });
    const raw = Reflect.get(socket, '_socket');
    raw.cork();
    client.send(message('subscribe', { query: 'subscription { said }' }));
    client.send(message('complete'));
    raw.uncork();
    client.subscribe('b', '{ hello }');
    expect([(await client.next()).id, (await client.next()).id]).toEqual(['b', 'b']);
    await until(() => server.running() === 0);
  });

  test('GWS-22 messages for ids that are not known are ignored', async () => {
    const client = await connect();
    client.send({ id: 'nobody', type: 'complete' });
    client.subscribe('a', '{ hello }');
    expect((await client.next()).type).toBe('next');
  });

  test('GWS-23 a stream that breaks ends with a masked error, and takes nothing else along', async () => {
    const client = await connect();
    client.subscribe('a', 'subscription { breaks }');
    const { payload } = await client.next();
    const requestId = server.logs.at(-1)?.fields?.['request_id'];
    expect(requestId).toEqual(expect.any(String));
    expect(payload?.errors?.[0]?.extensions).toEqual({ code: 'INTERNAL', requestId });
    expect(JSON.stringify(payload)).not.toContain('secret');
    expect(await client.next()).toEqual({ id: 'a', type: 'complete' });
  });

  test('GWS-31 the failure of a stream comes without the status that it has over HTTP', async () => {
    const client = await connect();
    client.subscribe('a', 'subscription { refuses }');
    const { payload } = await client.next();
    expect(payload?.errors?.[0]?.extensions).toEqual({ code: 'NOT_HERE' });
    expect(await client.next()).toEqual({ id: 'a', type: 'complete' });
  });
});

describe('Invalid message', () => {
  test.each([
    ['no JSON', '{'],
    ['no object', '7'],
    ['no type', '{}'],
    ['an unknown type', '{"type":"start"}'],
    ['an acknowledgement, which is the server’s to say', '{"type":"connection_ack"}'],
    ['a result, likewise', '{"type":"next","id":"a","payload":{"data":{}}}'],
    ['a failure, likewise', '{"type":"error","id":"a","payload":[{"message":"x"}]}'],
    ['a subscription without an id', '{"type":"subscribe","payload":{"query":"{hello}"}}'],
    ['an id that is no text', '{"type":"subscribe","id":1,"payload":{"query":"{hello}"}}'],
    ['a subscription without a payload', '{"type":"subscribe","id":"a"}'],
    ['a query that is no text', '{"type":"subscribe","id":"a","payload":{"query":{}}}'],
    [
      'variables that are a list',
      '{"type":"subscribe","id":"a","payload":{"query":"{hello}","variables":[]}}',
    ],
  ])('GWS-24 %s closes with 4400', async (_name, message) => {
    const client = await connect();
    client.send(message);
    expect(await client.closed).toEqual({ code: 4400, reason: 'Invalid message received' });
  });

  test('GWS-25 a binary message closes with 4400', async () => {
    const client = await connect();
    client.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
    expect((await client.closed).code).toBe(4400);
  });

  test('GWS-26 after the server has begun to close, nothing more is executed', async () => {
    const before = server.executed();
    const client = await connect();
    client.send('{');
    client.subscribe('a', 'mutation { count }');
    await client.closed;
    expect(server.executed()).toBe(before);
  });
});
