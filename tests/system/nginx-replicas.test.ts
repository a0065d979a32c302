import { once } from 'node:events';
import { Agent, type IncomingMessage, request as sendRequest } from 'node:http';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { type Nginx, startNginx } from '../support/nginx.ts';
import { findFreePort } from '../support/programs.ts';
import { openRawSocket } from '../support/raw-socket.ts';
import { type Answer, type ScriptedReplica, startScriptedReplica } from '../support/scripted-replica.ts';
import { startSilentServer } from '../support/silent-server.ts';

/** What nginx does with answers, failures and connections of replicas, which do what each test tells them to. */

let opened = new AsyncDisposableStack();
afterEach(async () => {
  await opened.disposeAsync();
  opened = new AsyncDisposableStack();
});

async function start(...scripts: readonly Parameters<typeof startScriptedReplica>[]) {
  const replicas = await Promise.all(scripts.map((script) => startScriptedReplica(...script)));
  for (const replica of replicas) opened.defer(() => replica.close());
  return { replicas, nginx: await startBefore(...replicas.map(({ address }) => address)) };
}

async function startBefore(...upstreams: readonly string[]): Promise<Nginx> {
  const nginx = await startNginx({ upstreams });
  opened.defer(() => nginx.stop());
  return nginx;
}

const ok: Answer = (response) => void response.end('ok');
const all = (replicas: readonly ScriptedReplica[]) => replicas.flatMap(({ requests }) => requests);
const post = (url: string, body = '{}') => fetch(url, { method: 'POST', body });

/** A script whose answers are held, for the test to write to when it sees fit. */
function held() {
  const answers: Parameters<Answer>[0][] = [];
  const answer: Answer = (response) => void answers.push(response);
  const next = () => eventually('a request at the replica', () => answers.shift());
  return { answer, next };
}

describe('a stream', () => {
  test('reaches the client piece by piece, whatever its replica says about buffering', async () => {
    const { answer, next } = held();
    const { nginx } = await start([answer]);
    const answering = post(`${nginx.url}/v1/chat/completions`);
    const response = await next();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    const reader = ((await answering).body ?? new ReadableStream()).getReader();
    for (const piece of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      response.write(piece);
      const { value } = await reader.read();
      expect(Buffer.from(value ?? []).toString()).toBe(piece);
    }
    response.end();
    expect(await reader.read()).toMatchObject({ done: true });
  });

  test('that its replica breaks off ends broken, and not as if it were complete', async () => {
    const { answer, next } = held();
    const { nginx } = await start([answer]);
    const answering = post(`${nginx.url}/v1/chat/completions`);
    const response = await next();
    response.write('data: 1\n\n');
    const { body } = await answering;
    response.destroy();
    await expect(new Response(body).text()).rejects.toThrow();
  });

  test('lets its replica know at once that the client has left', async () => {
    const { answer, next } = held();
    const { nginx } = await start([answer]);
    const leaving = new AbortController();
    const answering = fetch(`${nginx.url}/v1/models`, { signal: leaving.signal });
    const response = await next();
    response.write('data: 1\n\n');
    await answering;
    const closed = once(response, 'close');
    leaving.abort();
    await closed;
    expect(response.writableFinished).toBe(false);
    const line = await nginx.untilLogged(({ path }) => path === '/v1/models');
    expect(line).toMatchObject({ completed: false });
  });

  test('slows its replica down when the client does not read, and takes no more than it can pass on', async () => {
    const { answer, next } = held();
    const { nginx } = await start([answer]);
    const client = await openRawSocket(nginx.port);
    client.stopReading();
    client.send('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const response = await next();
    const piece = Buffer.alloc(64 * 1024);
    // What the kernel holds for sockets of this machine is some megabytes at most.
    for (let sent = 0; sent < 64 * 1024 * 1024 && !response.writableNeedDrain; sent += piece.length) {
      response.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(response.writableNeedDrain).toBe(true);
    client.destroy();
  });

  test('goes on to its end while nginx is reloaded', async () => {
    const { answer, next } = held();
    const { nginx } = await start([answer]);
    const answering = post(`${nginx.url}/v1/chat/completions`);
    const response = await next();
    response.write('before ');
    const { body } = await answering;
    await nginx.reload();
    response.end('after');
    expect(await new Response(body).text()).toBe('before after');
  });
});

describe('a WebSocket', () => {
  const accept = (socket: Duplex) =>
    void socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    );
  const handshake = (path: string, upgrade = 'websocket') =>
    `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`;

  test('is a connection to a replica, in both directions, at once', async () => {
    const { nginx } = await start([
      ok,
      (socket) => {
        accept(socket);
        socket.on('data', (data) => socket.write(`heard ${data}`));
      },
    ]);
    const client = await openRawSocket(nginx.port);
    client.send(handshake('/graphql'));
    await client.until(/101 Switching Protocols/);
    for (const word of ['one', 'two']) {
      client.send(word);
      await client.until(new RegExp(`heard ${word}$`));
    }
    client.destroy();
  });

  test('that a draining replica refuses is opened at another one', async () => {
    let refused = 0;
    const draining = (socket: Duplex) => {
      if (++refused > 1) return accept(socket);
      return void socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    };
    const { nginx, replicas } = await start([ok, draining], [ok, draining]);
    const client = await openRawSocket(nginx.port);
    client.send(handshake('/graphql'));
    expect(await client.until(/\r\n\r\n/)).toContain('101 Switching Protocols');
    expect(replicas.map(({ requests }) => requests.length)).toEqual([1, 1]);
    client.destroy();
  });

  test('is the only protocol that a connection can change to', async () => {
    const { nginx, replicas } = await start([ok, accept]);
    const client = await openRawSocket(nginx.port);
    client.send(handshake('/graphql', 'h2c'));
    await client.until(/ok$/);
    const [request] = all(replicas);
    expect(request?.headers).not.toHaveProperty('upgrade');
    expect(request?.headers['connection'] ?? '').not.toMatch(/upgrade/i);
    client.destroy();
  });
});

describe('connections to replicas', () => {
  test('are used again', async () => {
    const { nginx, replicas } = await start([ok]);
    // One connection of the client's is served by one of nginx's workers, each of which keeps connections of its own.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let sent = 0; sent < 20; sent++) {
      const [response]: IncomingMessage[] = await once(
        sendRequest(`${nginx.url}/v1/models`, { agent }).end(),
        'response',
      );
      await response?.toArray();
    }
    agent.destroy();
    expect(all(replicas)).toHaveLength(20);
    expect(replicas[0]?.connections()).toBe(1);
  });

  test('go where the fewest are, whichever worker of nginx has them', async () => {
    const open = [0, 1, 2].map((): Parameters<Answer>[0][] => []);
    const { nginx } = await start(
      ...open.map((answers): [Answer] => [(response) => void answers.push(response)]),
    );
    const counts = () => open.map((answers) => answers.length);
    const running: Promise<unknown>[] = [];
    const openOneMore = async () => {
      const before = open.flat().length;
      running.push(fetch(`${nginx.url}/v1/models`).then((response) => response.text()));
      await eventually('a request at a replica', () => open.flat().length > before);
    };

    for (let sent = 0; sent < 9; sent++) await openOneMore();
    expect(counts()).toEqual([3, 3, 3]);
    for (const answers of open.slice(0, 2)) for (const response of answers.splice(0)) response.end();
    // A line is written when nginx has done with a request.
    await eventually('the ends of six', () => nginx.accessLog().length === 6);
    for (let sent = 0; sent < 6; sent++) await openOneMore();
    expect(counts()).toEqual([3, 3, 3]);
    for (const response of open.flat()) response.end();
    await Promise.all(running);
  });

  test('that are refused send a request, of whatever method, on to a replica that is there', async () => {
    const there = await startScriptedReplica(ok);
    opened.defer(() => there.close());
    const gone = await Promise.all([findFreePort(), findFreePort()]);
    const nginx = await startBefore(...gone.map((port) => `127.0.0.1:${port}`), there.address);
    for (let sent = 0; sent < 6; sent++) {
      const response = await post(`${nginx.url}/v1/chat/completions`, 'a prompt');
      expect([response.status, await response.text()]).toEqual([200, 'ok']);
    }
    expect(there.requests.map(({ body }) => body)).toEqual(Array(6).fill('a prompt'));
    const attempts = nginx.accessLog().map(({ upstream }) => String(upstream).split(', ').length);
    expect(Math.max(...attempts)).toBeGreaterThan(1);
  });

  test('to a silent replica cost one request a second the wait for it, and all others nothing', async () => {
    const streams = held();
    const answer: Answer = (response, request) =>
      (request.url === '/v1/models' ? ok : streams.answer)(response, request);
    const there = await Promise.all([startScriptedReplica(answer), startScriptedReplica(answer)]);
    for (const replica of there) opened.defer(() => replica.close());
    const silent = await startSilentServer();
    opened.defer(() => silent.close());
    const nginx = await startBefore(...there.map(({ address }) => address), silent.address);
    const triedIt = ({ upstream }: Record<string, unknown>) => String(upstream).includes(silent.address);

    // The others have streams under way, so that it is the one with the fewest, whatever comes. All of these that come
    // before the first wait is over wait with it.
    const running = Array.from({ length: 20 }, () => post(`${nginx.url}/v1/chat/completions`));
    const answers = await Promise.all(running.map(() => streams.next()));
    const before = nginx.accessLog().length;
    const begun = Date.now();
    for (let sent = 0; sent < 200; sent++) {
      const response = await fetch(`${nginx.url}/v1/models`);
      expect([response.status, await response.text()]).toEqual([200, 'ok']);
    }
    const seconds = (Date.now() - begun) / 1000;
    const lines = await eventually('the lines', () => {
      const logged = nginx.accessLog().slice(before);
      return logged.length === 200 && logged;
    });
    expect(lines.filter(triedIt).length).toBeLessThanOrEqual(1 + seconds);
    expect(lines.filter(triedIt).length).toBeLessThan(100);

    for (const response of answers) response.end();
    await Promise.all(running.map(async (response) => (await response).text()));
    await nginx.untilLogged(triedIt);
  });

  test('to a replica marked as down are no longer made after a reload, and are again after the next', async () => {
    const { nginx, replicas } = await start([ok], [ok]);
    const addresses = replicas.map(({ address }) => address);
    await nginx.setUpstreams(addresses, addresses.slice(0, 1));
    for (let sent = 0; sent < 4; sent++) await (await post(`${nginx.url}/v1/embeddings`)).text();
    expect(replicas.map(({ requests }) => requests.length)).toEqual([0, 4]);
    await nginx.setUpstreams(addresses);
    for (let sent = 0; sent < 4; sent++) await (await post(`${nginx.url}/v1/embeddings`)).text();
    expect(replicas[0]?.requests.length).toBeGreaterThan(0);
  });
});

test('many connections at once wait for a replica that is busy', async () => {
  const { nginx, replicas } = await start([ok]);
  // More than a server queues by default.
  const clients = await Promise.all(Array.from({ length: 700 }, () => openRawSocket(nginx.port)));
  for (const client of clients) client.send('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await new Promise((resolve) => setImmediate(resolve));
  // Longer than nginx waits for a connection to be accepted.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2500);
  const received = await Promise.all(clients.map((client) => client.until(/ok$|HTTP\/1\.1 [45]/)));
  expect(received.filter((text) => !text.startsWith('HTTP/1.1 200'))).toEqual([]);
  expect(all(replicas)).toHaveLength(700);
  for (const client of clients) client.destroy();
});

describe('a request that has been sent when its replica dies', () => {
  const die: Answer = (response) => void response.destroy();

  test('is not sent again where it is a POST, as a model may be at work on it', async () => {
    const { nginx, replicas } = await start([die], [die], [die]);
    const response = await post(`${nginx.url}/v1/chat/completions`);
    expect(response.status).toBe(502);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await response.json()).toMatchObject({
      error: { type: 'server_error', code: 'gateway_unavailable' },
    });
    expect(all(replicas)).toHaveLength(1);
  });

  test('is sent to another one where it is a GET', async () => {
    let deaths = 0;
    const dieOnce: Answer = (response, request) =>
      ++deaths > 1 ? ok(response, request) : die(response, request);
    const { nginx, replicas } = await start([dieOnce], [dieOnce]);
    expect((await fetch(`${nginx.url}/v1/models`)).status).toBe(200);
    expect(replicas.map(({ requests }) => requests.length)).toEqual([1, 1]);
  });
});

describe('an answer of 503', () => {
  const busy: Answer = (response) => void response.writeHead(503, { 'x-request-id': 'its-own' }).end('busy');

  test.each([
    ['POST', '/v1/chat/completions'],
    ['POST', '/graphql'],
    ['GET', '/graphql'],
  ])('to a %s of %s is that of the replica asked, which goes on getting requests', async (method, path) => {
    const { nginx, replicas } = await start([busy], [busy]);
    const response = await fetch(nginx.url + path, { method });
    expect([response.status, await response.text()]).toEqual([503, 'busy']);
    expect(response.headers.get('retry-after')).toBeNull();
    expect(all(replicas)).toHaveLength(1);
  });
});

test('a request reaches a replica when all of it has arrived, so that no slow sender occupies one', async () => {
  const { nginx, replicas } = await start([ok]);
  const client = await openRawSocket(nginx.port);
  client.send('POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234');
  // Another request, which comes later, is through before it.
  expect((await fetch(`${nginx.url}/v1/models`)).status).toBe(200);
  expect(all(replicas).map(({ url }) => url)).toEqual(['/v1/models']);
  expect(replicas[0]?.connections()).toBe(1);
  client.send('56789');
  await client.until(/ok$/);
  expect(all(replicas).at(-1)).toMatchObject({ url: '/v1/chat/completions', body: '0123456789' });
  client.destroy();
});

test('nginx answers for its own health with no replica left', async () => {
  const nginx = await startBefore(`127.0.0.1:${await findFreePort()}`);
  expect((await fetch(`${nginx.url}/nginx-health`)).status).toBe(200);
  expect((await fetch(`${nginx.url}/health`)).status).toBe(502);
});
