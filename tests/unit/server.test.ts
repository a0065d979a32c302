import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { connect as connectTo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createServer, type Server, type ServerOptions } from '../../src/server.ts';
import { openRawSocket, type RawSocket } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';

const opened: { destroy(): void }[] = [];
const servers: Server[] = [];

afterEach(async () => {
  for (const socket of opened.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) await server.close();
});

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** A server that hands every request to the test, in order of arrival. */
async function startServer(options: Partial<ServerOptions> = {}) {
  const arrived: Exchange[] = [];
  const taken: ((exchange: Exchange) => void)[] = [];
  const collect: RequestListener = (request, response) => {
    request.resume();
    const take = taken.shift();
    if (take) take({ request, response });
    else arrived.push({ request, response });
  };
  const server = createServer({
    handlers: [],
    fallback: collect,
    ...options,
    limits: { lingerMs: 0, lastWordsMs: 50, checkIntervalMs: 10, ...options.limits },
  });
  servers.push(server);
  const { port } = await server.listen('127.0.0.1', 0);
  return {
    server,
    port,
    arrived,
    next: () =>
      new Promise<Exchange>((resolve) => {
        const exchange = arrived.shift();
        if (exchange) resolve(exchange);
        else taken.push(resolve);
      }),
    connect: async (): Promise<RawSocket> => {
      const socket = await openRawSocket(port);
      opened.push(socket);
      return socket;
    },
  };
}

/** Answers with what arrived, so that a test can tell one request from two. */
const echo: RequestListener = (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => response.end(`<${request.method} ${request.url} ${Buffer.concat(chunks)}>`));
};

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

describe('handlers', () => {
  const named =
    (name: string): RequestListener =>
    (request, response) =>
      void response.end(`${name} ${request.url}`);

  test.each([
    ['/graphql', 'graph /graphql'],
    ['/graphql?query=x', 'graph /graphql?query=x'],
    ['/graphql/stream', 'graph /graphql/stream'],
    ['/graphqlx', 'rest /graphqlx'],
    ['//graphql', 'rest //graphql'],
    ['/x/../graphql', 'rest /x/../graphql'],
    ['/%67raphql', 'rest /%67raphql'],
    ['/?/graphql', 'rest /?/graphql'],
    ['http://elsewhere/graphql', 'graph /graphql'],
    ['http://elsewhere', 'rest /'],
    ['http://elsewhere?a=b', 'rest /?a=b'],
  ])('a request for %s is answered by %s', async (target, expected) => {
    const { connect } = await startServer({
      handlers: [{ path: '/graphql', handler: named('graph') }],
      fallback: named('rest'),
    });
    const socket = await connect();
    socket.send(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect((await socket.closed()).split('\r\n\r\n')[1]).toBe(expected);
  });

  test('listening where somebody listens already rejects', async () => {
    const { port } = await startServer();
    const second = createServer({ handlers: [], fallback: echo });
    await expect(second.listen('127.0.0.1', port)).rejects.toThrow('EADDRINUSE');
  });
});

describe('many requests at once', () => {
  const POST = 'POST /work HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n';
  const GET = 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n';

  test('with a body do not all come before a small one that arrives with them', async () => {
    const begun: string[] = [];
    const { connect } = await startServer({
      fallback(request, response) {
        begun.push(String(request.url));
        response.end();
      },
    });
    const [many, one] = [await connect(), await connect()];
    many.send(POST.repeat(40));
    one.send(GET);
    await until(() => begun.length === 41);
    expect(begun.indexOf('/health')).toBeLessThan(20);
  });

  test('are not begun for a client that has left while they waited for their turn', async () => {
    const begun: string[] = [];
    const { connect, server } = await startServer({
      fallback(request, response) {
        begun.push(String(request.url));
        if (request.url === '/work') request.socket.destroy();
        else response.end();
      },
    });
    (await connect()).send(POST.repeat(40));
    await until(() => begun.length > 0);
    (await connect()).send(POST.replace('/work', '/last'));
    await until(() => begun.includes('/last'));
    expect(begun.length).toBeLessThan(20);
    await until(() => server.inFlight() === 0);
  });
});

describe('a complete answer', () => {
  /** More than the buffers of both ends of a connection take. */
  const LARGE = 'x'.repeat(32 * 2 ** 20);
  // Half of what reading takes, and long for a machine to be away.
  const STALL_MS = 800;

  test('that nobody reads does not stay in memory: its connection is cut', async () => {
    const { server, connect } = await startServer({
      fallback: (_request, response) => void response.end(LARGE),
      limits: { stallMs: STALL_MS },
    });
    const socket = await connect();
    socket.send(GET);
    await socket.until(/x/);
    socket.stopReading();
    await until(() => server.inFlight() === 0);
  });

  test('that is read slowly arrives whole, however much longer that takes', async () => {
    const { port } = await startServer({
      fallback: (_request, response) => void response.end(LARGE),
      limits: { stallMs: STALL_MS },
    });
    const socket = connectTo(port, '127.0.0.1');
    opened.push(socket);
    let received = 0;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
      socket.pause();
      setTimeout(() => socket.resume(), 2);
    });
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    const begun = performance.now();
    await once(socket, 'close');
    expect(received).toBeGreaterThan(LARGE.length);
    expect(performance.now() - begun).toBeGreaterThan(STALL_MS);
  });

  test('leaves the next one on its connection all the time that it takes', async () => {
    const { connect, next } = await startServer({ limits: { stallMs: 20 } });
    const socket = await connect();
    socket.send(GET + GET);
    const [first, second] = [await next(), await next()];
    first.response.end('one');
    await new Promise((resolve) => setTimeout(resolve, 100));
    second.response.end('two');
    expect(await socket.until(/two$/)).toMatch(/one/);
  });
});

describe('hostile requests', () => {
  const error = (message: string) =>
    JSON.stringify({ error: { message, type: 'invalid_request_error', param: null, code: null } });

  const head = 'POST / HTTP/1.1\r\nHost: a\r\n';
  test.each([
    ['no HTTP at all', 'hello\r\n\r\n'],
    [
      'Content-Length and Transfer-Encoding',
      `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'Transfer-Encoding and Content-Length',
      `${head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
    ],
    ['two Content-Lengths that differ', `${head}Content-Length: 0\r\nContent-Length: 4\r\n\r\n`],
    ['two Content-Lengths that agree', `${head}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody`],
    ['a list as Content-Length', `${head}Content-Length: 4, 4\r\n\r\nbody`],
    ['a signed Content-Length', `${head}Content-Length: +4\r\n\r\nbody`],
    ['a hexadecimal Content-Length', `${head}Content-Length: 0x4\r\n\r\nbody`],
    ['chunked, but not last', `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`],
    ['an unknown Transfer-Encoding', `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['Transfer-Encoding: identity', `${head}Transfer-Encoding: identity\r\n\r\nbody`],
    ['a space before the colon', `${head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`],
    [
      'a folded header',
      `${head}X: a\r\n b\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
    ],
    ['a bare LF after a header', 'POST / HTTP/1.1\r\nHost: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a bare CR in a header', `${head}X: a\rTransfer-Encoding: chunked\r\n\r\n`],
    ['a NUL in a header', `${head}X: a\0b\r\n\r\n`],
    ['a chunk size that is no number', `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
    ['a bare LF after a chunk size', `${head}Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n`],
  ])('%s: 400, and nothing that follows on the connection is a request', async (_name, bytes) => {
    const reached: string[] = [];
    const { connect } = await startServer({
      fallback: (request, response) => {
        reached.push(request.url ?? '');
        echo(request, response);
      },
    });
    const socket = await connect();
    socket.send(`${bytes}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(await socket.closed()).toMatch(/^HTTP\/1\.1 400 /);
    expect(reached).not.toContain('/smuggled');
  });

  test('a refusal has the error shape of the REST API', async () => {
    const { connect } = await startServer();
    const socket = await connect();
    socket.send('hello\r\n\r\n');
    const [answer, body] = (await socket.closed()).split('\r\n\r\n');
    expect(answer).toContain('Content-Type: application/json\r\n');
    expect(answer).toContain('Connection: close\r\n');
    expect(body).toBe(error('The request is not valid HTTP/1.1.'));
  });

  test('a request without Host is refused', async () => {
    const { connect } = await startServer({ fallback: echo });
    const socket = await connect();
    socket.send('GET / HTTP/1.1\r\n\r\n');
    expect(await socket.closed()).toMatch(/^HTTP\/1\.1 400 /);
  });

  test('chunk extensions are not part of the body', async () => {
    const { connect } = await startServer({ fallback: echo });
    const socket = await connect();
    socket.send(
      `${head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4;a=b;c="d"\r\nbody\r\n0\r\n\r\n`,
    );
    expect(await socket.closed()).toContain('<POST / body>');
  });

  test('endless chunk extensions are refused', async () => {
    const { connect } = await startServer({ fallback: echo });
    const socket = await connect();
    socket.send(`${head}Transfer-Encoding: chunked\r\n\r\n4;${'a'.repeat(20_000)}`);
    expect(await socket.closed()).toMatch(/^HTTP\/1\.1 413 /);
  });

  test('a pipelined request is answered second, by itself', async () => {
    const { connect } = await startServer({ fallback: echo });
    const socket = await connect();
    socket.send(
      `${head}Content-Length: 4\r\n\r\nbodyGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    expect((await socket.closed()).match(/<[^>]*>/g)).toEqual(['<POST / body>', '<GET /2 >']);
  });

  test('a client that leaves with pipelined requests unanswered leaves none of them in flight', async () => {
    const { server, connect, next } = await startServer();
    const socket = await connect();
    socket.send(GET.repeat(3));
    const responses = [await next(), await next(), await next()].map(({ response }) => response);
    expect(server.inFlight()).toBe(3);
    socket.destroy();
    await Promise.all(responses.map((response) => once(response, 'close')));
    expect(server.inFlight()).toBe(0);
  });

  test('headers above the limit are refused with 431', async () => {
    const { connect } = await startServer({ limits: { maxHeaderBytes: 2048 } });
    const socket = await connect();
    socket.send(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(4000)}\r\n\r\n`);
    const text = await socket.closed();
    expect(text).toMatch(/^HTTP\/1\.1 431 /);
    expect(text).toContain(error('The request headers are too large.'));
  });

  test('a header named __proto__ harms neither the process nor the handlers', async () => {
    const { connect } = await startServer({
      fallback: (request, response) => {
        response.end(`${Object.keys(request.headersDistinct).sort()} ${'x' in {}}`);
      },
    });
    const socket = await connect();
    socket.send(
      'GET / HTTP/1.1\r\nHost: a\r\n__proto__: {"x":1}\r\nconstructor: 1\r\nConnection: close\r\n\r\n',
    );
    expect(await socket.closed()).toMatch(/constructor.*host.* false$/);
  });

  test.each([
    ['nothing at all', ''],
    ['half a head', 'GET / HTTP/1.1\r\nHost:'],
  ])('a client that sends %s is told 408 and cut, while others are served', async (_name, bytes) => {
    const { connect } = await startServer({ fallback: echo, limits: { headersTimeoutMs: 50 } });
    const slow = await connect();
    slow.send(bytes);
    const other = await connect();
    other.send(GET);
    await other.until(/<GET \/ >/);
    expect(await slow.closed()).toMatch(/^HTTP\/1\.1 408 .*took too long to arrive/s);
  });

  test('a body that never comes is given up with 408, and its handler sees it break off', async () => {
    const limits = { headersTimeoutMs: 50, requestTimeoutMs: 50 };
    const { connect, next } = await startServer({ limits });
    const socket = await connect();
    socket.send(`${head}Content-Length: 10\r\n\r\nabc`);
    const { request } = await next();
    const [failure] = await once(request, 'error');
    expect(failure).toMatchObject({ code: 'ECONNRESET' });
    expect(await socket.closed()).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('rubbish behind an answer that has begun cuts the connection and adds nothing to the answer', async () => {
    const { connect, next } = await startServer();
    const socket = await connect();
    socket.send(GET);
    const { response } = await next();
    response.write('begun');
    await socket.until(/begun/);
    socket.send('rubbish\r\n\r\n');
    expect(await socket.closed()).not.toContain('400');
  });
});

describe('Expect: 100-continue', () => {
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n';

  test('a client that asks first is told to go on', async () => {
    const { connect } = await startServer({ fallback: echo });
    const socket = await connect();
    socket.send(`${head}Content-Length: 4\r\nConnection: close\r\n\r\n`);
    await socket.until(/^HTTP\/1\.1 100 Continue\r\n\r\n/);
    socket.send('body');
    expect(await socket.closed()).toContain('<POST / body>');
  });

  test('a body above the limit is not asked for, and the connection ends with the answer', async () => {
    const { connect } = await startServer({
      limits: { maxBodyBytes: 1000 },
      fallback: (_request, response) => void response.writeHead(413).end('too large'),
    });
    const socket = await connect();
    socket.send(`${head}Content-Length: 1001\r\n\r\n`);
    expect(await socket.closed()).toMatch(/^HTTP\/1\.1 413 .*\r\nconnection: close\r\n/is);
  });
});

describe('upgrades', () => {
  const handshake = (protocol: string) =>
    `GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;

  test('a WebSocket handshake goes to the upgrade listener and counts as in flight until it closes', async () => {
    const { server, connect } = await startServer({
      upgrade: (request, socket, head) => {
        socket.end(`${request.url} ${head.length}`);
      },
    });
    const socket = await connect();
    socket.send(handshake('WebSocket'));
    await socket.until(/^\/graphql 0$/);
    expect(server.inFlight()).toBe(1);
    socket.destroy();
    await server.drain(10_000);
    expect(server.inFlight()).toBe(0);
  });

  test.each([
    ['another protocol', { upgrade: () => undefined }, 'h2c'],
    ['a WebSocket that nobody takes', {}, 'websocket'],
  ])('%s is an ordinary request', async (_name, options, protocol) => {
    const { connect } = await startServer({ fallback: echo, ...options });
    const socket = await connect();
    socket.send(handshake(protocol));
    await socket.until(/<GET \/graphql >/);
  });

  test('a handshake during a drain gets 503', async () => {
    const { server, connect, next } = await startServer({ upgrade: () => undefined });
    const running = await connect();
    running.send(GET);
    const { response } = await next();
    const late = await connect();
    const drained = server.drain(10_000);
    late.send(handshake('websocket'));
    expect(await late.closed()).toMatch(/^HTTP\/1\.1 503 .*shutting down/s);
    response.end();
    await drained;
  });
});

describe('drain', () => {
  test('a running stream finishes, its connection closes, and the drain ends with it', async () => {
    const order: string[] = [];
    const { server, connect, next } = await startServer({ onDraining: () => order.push('draining') });
    const socket = await connect();
    socket.send(GET);
    const { response } = await next();
    response.write('first');
    await socket.until(/first/);
    expect(server.inFlight()).toBe(1);

    const drained = server.drain(10_000).then(() => order.push('drained'));
    expect(server.draining).toBe(true);
    await refused(connect);
    response.end('last', () => order.push('answered'));
    expect(await socket.closed()).toContain('last');
    await drained;
    expect(order).toEqual(['draining', 'answered', 'drained']);
  });

  test('the connection of a stream that finished does not wait for those of others', async () => {
    const { server, connect, next } = await startServer();
    const [first, second] = [await connect(), await connect()];
    first.send(GET);
    const quick = (await next()).response;
    second.send(GET);
    const slow = (await next()).response;
    quick.write('first');
    slow.write('first');
    await Promise.all([first.until(/first/), second.until(/first/)]);
    const drained = server.drain(60_000);
    quick.end();
    await first.closed();
    expect(server.inFlight()).toBe(1);
    slow.end();
    await drained;
  });

  test('an answer that has not begun says Connection: close, on old connections and on new ones', async () => {
    const { server, connect, next } = await startServer({ limits: { lingerMs: 60_000 } });
    const old = await connect();
    old.send(GET);
    const { response } = await next();
    void server.drain(60_000);
    response.end();
    expect(await old.closed()).toMatch(/\r\nconnection: close\r\n/i);

    const late = await connect();
    late.send(GET);
    (await next()).response.end();
    expect(await late.closed()).toMatch(/\r\nconnection: close\r\n/i);
  });

  test('a stream past the grace is told, says its last word, and is cut if it goes on', async () => {
    const streams: ServerResponse[] = [];
    const { server, connect, next } = await startServer({
      onGraceOver: () => void setImmediate(() => streams[0]?.end('error frame')),
    });
    const [polite, deaf] = [await connect(), await connect()];
    for (const socket of [polite, deaf]) {
      socket.send(GET);
      const { response } = await next();
      response.write('first');
      streams.push(response);
      await socket.until(/first/);
    }
    await server.drain(20);
    expect(await polite.closed()).toMatch(/error frame\r\n0\r\n\r\n$/);
    expect(await deaf.closed()).toMatch(/first\r\n$/);
    expect(server.inFlight()).toBe(0);
  });

  test('a WebSocket past the grace is cut', async () => {
    const { server, connect } = await startServer({
      upgrade: (_request, socket) => void socket.write('hello'),
    });
    const socket = await connect();
    socket.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await socket.until(/hello/);
    await server.drain(0);
    await socket.closed();
    expect(server.inFlight()).toBe(0);
  });

  test('idle connections do not hold it up', async () => {
    const { server, connect, next } = await startServer();
    const socket = await connect();
    socket.send(GET);
    (await next()).response.end();
    await socket.until(/\r\n\r\n/);
    await server.drain(3_600_000);
    await socket.closed();
  });

  /** Resolves once the server no longer accepts connections. */
  async function refused(connect: () => Promise<RawSocket>) {
    for (;;) {
      try {
        (await connect()).destroy();
      } catch {
        return;
      }
    }
  }
});
