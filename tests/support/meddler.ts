/** A reverse proxy that spoils answers, as a wrong configuration in front of the gateway would. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';

export interface Meddler {
  readonly url: string;
  close(): Promise<void>;
}

export type Header = readonly [name: string, value: string];

/** What is done to one answer. Without any of it, it passes as it is. */
export interface Meddling {
  /** It never comes. */
  readonly swallow?: true;
  /** It comes in one piece when it is complete. */
  readonly holdBack?: true;
  readonly headers?: (headers: readonly Header[]) => readonly Header[];
  /** Another one comes in its place, without anything of the gateway's. */
  readonly instead?: { readonly status: number; readonly type: string; readonly body: string };
}

/** WebSockets pass untouched. @param meddle is asked for each request. */
export async function startMeddler(
  target: string,
  meddle: (asked: { readonly method: string; readonly path: string }) => Meddling | undefined,
): Promise<Meddler> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Duplex>();
  const server = createServer((incoming, outgoing) => {
    const { method = 'GET', url: path = '/' } = incoming;
    const meddling = meddle({ method, path }) ?? {};
    if (meddling.swallow) return;
    const { instead } = meddling;
    if (instead) {
      outgoing.writeHead(instead.status, { 'content-type': instead.type }).end(instead.body);
      return;
    }
    const forwarded = request({ hostname, port, method, path, headers: incoming.headers }, (answer) => {
      void pass(answer, outgoing, meddling);
    });
    forwarded.on('error', () => outgoing.destroy());
    outgoing.once('close', () => forwarded.destroy());
    incoming.pipe(forwarded);
  });
  server.on('upgrade', (incoming, socket, head) => {
    const upstream = connect(Number(port), hostname);
    for (const end of [socket, upstream]) {
      sockets.add(end);
      end.on('error', () => undefined).once('close', () => [socket, upstream].map((one) => one.destroy()));
    }
    upstream.write(`${[`GET ${incoming.url} HTTP/1.1`, ...linesOf(incoming)].join('\r\n')}\r\n\r\n`);
    upstream.write(head);
    socket.pipe(upstream).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function pass(answer: IncomingMessage, outgoing: ServerResponse, meddling: Meddling): Promise<void> {
  const received = pairsOf(answer).filter(([name]) => !/^(connection|transfer-encoding)$/i.test(name));
  const headers = meddling.headers?.(received) ?? received;
  outgoing.writeHead(answer.statusCode ?? 502, headers.flat());
  try {
    const held: Uint8Array[] = [];
    for await (const piece of answer) {
      if (meddling.holdBack) held.push(piece);
      else outgoing.write(piece);
    }
    outgoing.end(Buffer.concat(held));
  } catch {
    outgoing.destroy();
  }
}

function pairsOf({ rawHeaders }: IncomingMessage): readonly Header[] {
  return rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [[name, rawHeaders[at + 1] ?? ''] as const] : []));
}

function linesOf(incoming: IncomingMessage): readonly string[] {
  return pairsOf(incoming).map(([name, value]) => `${name}: ${value}`);
}
