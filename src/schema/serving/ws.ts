import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { handleProtocols } from 'graphql-ws';
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../../core/ports.ts';
import { authorizationOf } from '../../http/authorization.ts';
import type { CorsOrigins } from '../../http/cors.ts';
import type { JsonBounds } from '../../http/json-bounds.ts';
import { pathOf } from '../../http/path.ts';
import { addressOf, createCap } from './caps.ts';
import { CLOSE, type Connection, createConnection } from './connection.ts';
import { withOwnIds } from './operation-ids.ts';
import { closeIfIdle, createProtocol, type Extra, type ProtocolOptions } from './protocol.ts';
import { logBug } from './refusal.ts';
import { limitUnfinished } from './unfinished.ts';

export interface WebSocketOptions extends ProtocolOptions {
  readonly path: string;
  readonly corsOrigins: CorsOrigins;
  readonly trustedProxies: number;
  /** As for a request over HTTP: whatever fits into one fits into the other. */
  readonly maxMessageBytes: number;
  readonly messageBounds: JsonBounds;
  readonly clock: Clock;
}

/** GraphQL over WebSocket, by the subprotocol `graphql-transport-ws`. */
export function createWebSocketHandler(options: WebSocketOptions) {
  const { limits, messageBounds, draining, clock, telemetry } = options;
  const connections = new Set<Connection>();
  const perAddress = createCap(limits.perAddress);
  const unfinishedPerKey = createCap(Math.max(limits.unfinishedPerKey, options.maxMessageBytes));
  const protocol = createProtocol(options);
  const server = new WebSocketServer(settingsFor(options));

  const accept = (socket: WebSocket, request: IncomingMessage) => {
    const connection = createConnection(socket, limits, messageBounds, clock);
    connections.add(connection);
    const authorization = authorizationOf(request);
    const messages = withOwnIds(connection);
    const extra: Extra = { connection, messages, authorization, held: new Set(), waiting: 0 };
    const stopCounting = limitBytes(request.socket, limits.bytesBeforeInit, () => {
      if (extra.principal) return stopCounting();
      connection.close(CLOSE.tooMuchBeforeInit);
    });
    limitUnfinished(socket, request.socket, {
      withinMs: limits.messageMs,
      perKey: unfinishedPerKey,
      clock,
      keyId: () => extra.principal?.keyId,
      onLate: () => connection.close(CLOSE.tooSlow),
      onExcess: () => connection.close(CLOSE.tooMuchUnfinished),
    });
    const closed = protocol.opened(
      {
        protocol: socket.protocol,
        send: messages.send,
        close: (code = 1000, reason = '') => connection.close({ code, reason }),
        onMessage: (listener) =>
          messages.onMessage((data) =>
            listener(data).catch((thrown: unknown) => {
              logBug(thrown, undefined, telemetry);
              connection.close(CLOSE.internalError);
            }),
          ),
      },
      extra,
    );
    socket.once('close', (code, reason) => {
      connections.delete(connection);
      void closed(code, reason.toString());
    });
  };

  return {
    /** Everything that can be refused without a WebSocket is, by an ordinary status. */
    upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
      const address = addressOf(request, options.trustedProxies);
      const status =
        refuses(request, options) ?? (draining.aborted ? 503 : perAddress.take(address) ? undefined : 429);
      if (status !== undefined) {
        refuseUpgrade(socket, status);
        return;
      }
      socket.once('close', () => perAddress.give(address));
      server.handleUpgrade(request, socket, head, accept);
    },
    /**
     * Once draining, nothing new begins: whoever has no operations is closed with 1001 here, and each of the others when
     * its last one has ended. What has no answer by then was never begun.
     */
    closeIdle(): void {
      for (const connection of connections) closeIfIdle(connection);
    },
    close(): void {
      for (const { socket } of connections) socket.terminate();
    },
  };
}

/** Two of the settings are missing in the library's types. */
type Settings = ServerOptions & { readonly closeTimeout: number; readonly maxFragments: number };

function settingsFor({ maxMessageBytes, limits }: WebSocketOptions): Settings {
  return {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // One message a turn, so that a hundred documents at once do not keep everybody else waiting.
    allowSynchronousEvents: false,
    maxPayload: maxMessageBytes,
    maxFragments: 1024,
    closeTimeout: limits.closeMs,
    handleProtocols,
  };
}

/** @returns the status of a handshake that is none of ours, or undefined. */
function refuses(
  { url, headers: { origin } }: IncomingMessage,
  { path, corsOrigins }: WebSocketOptions,
): number | undefined {
  if (pathOf(url) !== path) return 404;
  // Browsers let any page open a WebSocket anywhere, and only say where it came from.
  const isForeign = origin !== undefined && corsOrigins !== '*' && !corsOrigins.includes(origin);
  return isForeign ? 403 : undefined;
}

/** Counts what comes in on a connection, and acts when it has become too much. @returns the function that stops it. */
function limitBytes(stream: Duplex, maximum: number, act: () => void): () => void {
  let count = 0;
  const add = (chunk: Buffer) => {
    count += chunk.length;
    if (count > maximum) act();
  };
  stream.on('data', add);
  return () => stream.off('data', add);
}

function refuseUpgrade(socket: Duplex, status: number): void {
  // Nothing listens to a socket that has left the server, and an error without a listener ends the process.
  socket.on('error', () => socket.destroy());
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}`;
  socket.end(`${head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}
