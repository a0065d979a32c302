import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createSecureServer, getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type Connections, createConnections, type Sent } from '../../../src/providers/ollama/connections.ts';
import { createCertificate } from '../../support/certificate.ts';
import { startSilentServer } from '../../support/silent-server.ts';
import { until } from '../../support/until.ts';

/** What the sockets themselves and `until` go by. */
const TIMERS_BUT_INTERVALS = [
  ...(['Date', 'hrtime', 'nextTick', 'performance', 'queueMicrotask'] as const),
  ...(['setImmediate', 'clearImmediate', 'setTimeout', 'clearTimeout'] as const),
];

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** The server's side of a connection. */
interface Peer {
  readonly socket: Socket;
  received: string;
  closed: boolean;
}

/** A server that does nothing of itself. */
async function startServer(listen: (onConnection: (socket: Socket) => void) => Server = createServer) {
  const peers: Peer[] = [];
  const server = listen((socket) => {
    const peer: Peer = { socket, received: '', closed: false };
    peers.push(peer);
    socket.on('data', (bytes) => {
      peer.received += bytes;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      peer.closed = true;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => {
    for (const { socket } of peers) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const peerAt = async (index: number): Promise<Peer> => {
    await until(() => peers.length > index);
    return peers[index] as Peer;
  };
  return { peers, peerAt, port: (server.address() as AddressInfo).port };
}

function open(
  port: number,
  { most = 10, connectTimeoutMs = 5000, scheme = 'http', host = '127.0.0.1' } = {},
): Connections {
  const url = new URL(`${scheme}://${host}:${port}`);
  const connections = createConnections({ url, connectTimeoutMs, most });
  ends.push(() => connections.close(new Error('the test is over')));
  return connections;
}

/** Sends a request, and keeps what it is told of it. */
function ask(connections: Connections, text: string, onBody?: (sent: () => Sent) => void) {
  const heard = { status: 0, body: '', ended: false, failure: undefined as Error | undefined };
  const sent: Sent = connections.send(text, {
    onHead: ({ status }) => {
      heard.status = status;
    },
    onBody: (bytes, start, end) => {
      heard.body += bytes.toString('latin1', start, end);
      onBody?.(() => sent);
    },
    onRead: () => undefined,
    onEnd: () => {
      heard.ended = true;
    },
    onFailure: (error) => {
      heard.failure = error;
    },
  });
  return Object.assign(heard, sent, {
    pause: () => sent.pause(),
    resume: () => sent.resume(),
    abort: () => sent.abort(),
  });
}

/** A request and its answer, on whichever connection comes of it. */
async function askAnswered(connections: Connections, peerAt: Promise<Peer>, text = answer('ok')) {
  const asked = ask(connections, 'one');
  const peer = await peerAt;
  peer.socket.write(text);
  await until(() => asked.ended);
  return { asked, peer };
}

const answer = (body: string, headers = '') =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;

describe('a connection', () => {
  test('is kept for the next request, which goes over it as it is', async () => {
    const { peers, peerAt, port } = await startServer();
    const connections = open(port);
    for (const text of ['one', 'two', 'three']) {
      const asked = ask(connections, text);
      const peer = await peerAt(0);
      await until(() => peer.received.endsWith(text));
      peer.socket.write(answer(text.toUpperCase()));
      await until(() => asked.ended);
      expect(asked).toMatchObject({ status: 200, body: text.toUpperCase(), failure: undefined });
    }
    expect(peers.map(({ received }) => received)).toEqual(['onetwothree']);
  });

  test.each([
    ['the server says so', answer('ok', 'Connection: close\r\n')],
    ['the server would hardly keep it', answer('ok', 'Keep-Alive: timeout=1\r\n')],
    ['more came than the answer', `${answer('ok')}${answer('for somebody else')}`],
  ])('is not used again where %s', async (_why, text) => {
    const { peerAt, port } = await startServer();
    const connections = open(port);
    const first = await askAnswered(connections, peerAt(0), text);
    expect(first.asked).toMatchObject({ body: 'ok', failure: undefined });
    const second = await askAnswered(connections, peerAt(1), answer('for me'));
    expect(second.asked.body).toBe('for me');
  });

  test('on which something comes unasked is closed', async () => {
    const { peerAt, port } = await startServer();
    const connections = open(port);
    const { peer } = await askAnswered(connections, peerAt(0));
    peer.socket.write(answer('for somebody else'));
    await until(() => peer.closed);
    const second = await askAnswered(connections, peerAt(1), answer('for me'));
    expect(second.asked.body).toBe('for me');
  });

  test('whose request was answered before it was read is not used again', async () => {
    const { peerAt, port } = await startServer();
    const connections = open(port);
    const asked = ask(connections, 'x'.repeat(20_000_000));
    const peer = await peerAt(0);
    peer.socket.pause();
    peer.socket.write(answer('no'));
    await until(() => asked.ended);
    peer.socket.resume();
    await until(() => peer.closed);
  });

  test('that the server closed while it was idle is not used again', async () => {
    const { peerAt, port } = await startServer();
    const connections = open(port);
    const { peer } = await askAnswered(connections, peerAt(0));
    peer.socket.end();
    await until(() => peer.closed);
    await askAnswered(connections, peerAt(1));
  });

  test('that has been idle for too long is closed, though nobody asks for it', async () => {
    jest.useFakeTimers({ doNotFake: TIMERS_BUT_INTERVALS });
    try {
      const { peerAt, port } = await startServer();
      // As long ago as this server keeps its connections.
      const { peer } = await askAnswered(open(port), peerAt(0), answer('ok', 'Keep-Alive: timeout=1\r\n'));
      expect(peer.closed).toBe(false);
      jest.advanceTimersByTime(30_000);
      await until(() => peer.closed);
    } finally {
      jest.useRealTimers();
    }
  });

  test.each([
    ['ends', (socket: Socket) => socket.end()],
    ['is reset', (socket: Socket) => socket.resetAndDestroy()],
    ['says what is no HTTP', (socket: Socket) => socket.write('garbage\r\n\r\n')],
  ])('that %s before the answer is whole fails its request, once, and is gone', async (_how, end) => {
    const { peerAt, port } = await startServer();
    const connections = open(port, { most: 1 });
    const asked = ask(connections, 'one');
    const peer = await peerAt(0);
    await until(() => peer.received !== '');
    end(peer.socket);
    await until(() => asked.failure !== undefined);
    expect(asked.ended).toBe(false);
    await askAnswered(connections, peerAt(1));
  });

  test('that was paused when its answer ended carries the next one all the same', async () => {
    const { peers, peerAt, port } = await startServer();
    const connections = open(port);
    const paused = ask(connections, 'one', (sent) => sent().pause());
    (await peerAt(0)).socket.write(answer('ok'));
    await until(() => paused.ended);
    const { asked } = await askAnswered(connections, peerAt(0), answer('next'));
    expect(asked.body).toBe('next');
    expect(peers).toHaveLength(1);
  });

  test('that is paused takes no more than its buffers hold, and goes on where it stopped', async () => {
    const { peerAt, port } = await startServer();
    const asked = ask(open(port), 'one');
    const { socket } = await peerAt(0);
    const length = 50_000_000;
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
    await until(() => asked.status === 200);
    asked.pause();
    socket.write('x'.repeat(length));
    // The kernel takes what its own buffers hold, and then nothing, turn after turn.
    let left = length;
    for (let quiet = 0; quiet < 50; quiet++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (socket.writableLength < left) quiet = 0;
      left = socket.writableLength;
    }
    expect(asked.body.length).toBeLessThan(1_000_000);
    asked.resume();
    await until(() => asked.ended);
    expect(asked.body.length).toBe(length);
  });
});

describe('a request', () => {
  test('beyond the most connections waits for its turn', async () => {
    const { peers, peerAt, port } = await startServer();
    const connections = open(port, { most: 1 });
    const asked = ['one', 'two', 'three'].map((text) => ask(connections, text));
    const peer = await peerAt(0);
    for (const [index, { length }] of ['one', 'onetwo', 'onetwothree'].entries()) {
      await until(() => peer.received.length === length);
      peer.socket.write(answer(String(index)));
      await until(() => asked[index]?.ended === true);
    }
    expect(asked.map(({ body }) => body)).toEqual(['0', '1', '2']);
    expect(peers).toHaveLength(1);
  });

  test('that is aborted while it waits is never sent', async () => {
    const { peerAt, port } = await startServer();
    const connections = open(port, { most: 1 });
    ask(connections, 'one');
    const left = ask(connections, 'two');
    const stays = ask(connections, 'three');
    left.abort();
    const peer = await peerAt(0);
    peer.socket.write(answer('ok'));
    await until(() => peer.received === 'onethree');
    peer.socket.write(answer('ok'));
    await until(() => stays.ended);
    expect(left).toMatchObject({ ended: false, failure: undefined });
  });

  test('that is aborted closes its connection, is told nothing more, and makes room for the next', async () => {
    const { peerAt, port } = await startServer();
    const connections = open(port, { most: 1 });
    const left = ask(connections, 'one');
    const waits = ask(connections, 'two');
    const peer = await peerAt(0);
    left.abort();
    await until(() => peer.closed);
    (await peerAt(1)).socket.write(answer('ok'));
    await until(() => waits.ended);
    expect(left).toMatchObject({ status: 0, ended: false, failure: undefined });
  });

  test('that has its answer cannot disturb the one after it', async () => {
    const { peerAt, port } = await startServer();
    const connections = open(port, { most: 1 });
    const { asked: first, peer } = await askAnswered(connections, peerAt(0));
    const second = ask(connections, 'two');
    first.pause();
    first.abort();
    peer.socket.write(answer('ok'));
    await until(() => second.ended);
  });

  test('finds a server by its name', async () => {
    const { peerAt, port } = await startServer();
    const { asked } = await askAnswered(open(port, { host: 'localhost' }), peerAt(0));
    expect(asked.body).toBe('ok');
  });

  test('to where nobody listens fails as refused', async () => {
    const { port } = await startServer();
    await ends.pop()?.();
    const asked = ask(open(port), 'one');
    await until(() => asked.failure !== undefined);
    expect(asked.failure).toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('to where nothing answers fails after the time for connecting', async () => {
    const silent = await startSilentServer();
    ends.push(() => silent.close());
    const asked = ask(open(Number(silent.address.split(':')[1]), { connectTimeoutMs: 50 }), 'one');
    await until(() => asked.failure !== undefined);
    expect(asked.failure).toMatchObject({ code: 'ETIMEDOUT' });
  });

  test('fails with the reason for closing, whether it was sent, waits or comes afterwards', async () => {
    const { peerAt, port } = await startServer();
    const connections = open(port, { most: 1 });
    const asked = [ask(connections, 'one'), ask(connections, 'two')];
    const peer = await peerAt(0);
    const reason = new Error('closing');
    await connections.close(reason);
    asked.push(ask(connections, 'three'));
    expect(asked.map(({ failure }) => failure)).toEqual([reason, reason, reason]);
    await until(() => peer.closed);
  });
});

describe('over TLS', () => {
  test('a server is asked that is who it should be, and no other', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-connections-'));
    ends.push(() => rmSync(directory, { recursive: true, force: true }));
    const paths = await createCertificate(directory);
    const [cert, key] = [readFileSync(paths.certificate, 'utf8'), readFileSync(paths.key)];
    const { peers, port } = await startServer((listener) => createSecureServer({ cert, key }, listener));

    const refused = ask(open(port, { scheme: 'https' }), 'one');
    await until(() => refused.failure !== undefined);
    expect(refused.failure).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });

    const authorities = getCACertificates('default');
    setDefaultCACertificates([...authorities, cert]);
    ends.push(() => setDefaultCACertificates(authorities));
    const connections = open(port, { scheme: 'https' });
    for (const text of ['one', 'onetwo']) {
      const asked = ask(connections, text.slice(-3));
      await until(() => peers.at(-1)?.received === text);
      peers.at(-1)?.socket.write(answer(text.repeat(50_000)));
      await until(() => asked.ended);
      expect(asked.body).toBe(text.repeat(50_000));
    }
  });
});
