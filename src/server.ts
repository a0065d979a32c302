import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { Duplex } from 'node:stream';
import { Bag } from './domain/bag.ts';
import { writeInOnePiece } from './http/one-piece.ts';
import { pathOf } from './http/path.ts';
import { createTurns } from './http/turns.ts';

export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** A handler for a path and everything below it. */
export interface Mount {
  /** E.g. `/graphql`. */
  readonly path: string;
  readonly handler: RequestListener;
}

export interface ServerOptions {
  readonly handlers: readonly Mount[];
  /** Gets every request that no mount takes. */
  readonly fallback: RequestListener;
  /** Gets WebSocket handshakes. Without it they are ordinary requests, as every other upgrade always is. */
  readonly upgrade?: UpgradeListener;
  /** Called first of all in a drain: from now on `/ready` says no, and WebSockets take no new operations. */
  readonly onDraining?: () => void;
  /** Called when the grace is over: whatever still runs ends now, with a last word to its client. */
  readonly onGraceOver?: () => void;
  readonly limits?: Partial<ServerLimits>;
}

/** Times in milliseconds. */
export interface ServerLimits {
  /** For a request's whole head, counted from the connection or the request before it. */
  readonly headersTimeoutMs: number;
  /** For a whole request, body included. The answer may take as long as it likes. */
  readonly requestTimeoutMs: number;
  /** More than a reverse proxy keeps idle connections (60 s in nginx), so that it is never the proxy that is surprised. */
  readonly keepAliveTimeoutMs: number;
  /** How often the timeouts are looked at. */
  readonly checkIntervalMs: number;
  readonly maxHeaderBytes: number;
  /** A larger body that waits for `100 Continue` does not get it. */
  readonly maxBodyBytes: number;
  /** How long a client may leave a complete answer unread. */
  readonly stallMs: number;
  /** How long a draining server goes on accepting connections, for load balancers to notice. */
  readonly lingerMs: number;
  /** How long running requests have for their last word after the grace. */
  readonly lastWordsMs: number;
}

const DEFAULT_LIMITS: ServerLimits = {
  headersTimeoutMs: 15_000,
  requestTimeoutMs: 120_000,
  keepAliveTimeoutMs: 75_000,
  checkIntervalMs: 2000,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: Number.POSITIVE_INFINITY,
  stallMs: 30_000,
  lingerMs: 500,
  lastWordsMs: 1000,
};

/**
 * Connections that the kernel accepts while this process is busy; Node's 511 are fewer than what a reverse proxy may open
 * at once. The kernel's own maximum, `net.core.somaxconn`, is as much by default.
 */
const BACKLOG = 4096;

/**
 * Requests with a body that are begun in one turn of the event loop: what they cost is the longest that a health check
 * waits, however many arrive at once. Fewer make each dearer, as a turn has a price of its own.
 */
const BEGUN_PER_TURN = 10;

export interface Server {
  /** @returns the port, which is news where 0 was asked for. */
  listen(host: string, port: number): Promise<{ readonly port: number }>;
  /**
   * Stops without cutting anybody off: says so, goes on serving while that gets around, stops listening, waits for what
   * is under way until `graceMs` after the call, lets the rest say a last word, and closes every connection.
   */
  drain(graceMs: number): Promise<void>;
  /** Stops at once. */
  close(): Promise<void>;
  /** Requests without a complete answer, and WebSockets. */
  inFlight(): number;
  readonly draining: boolean;
}

/** HTTP/1.1 for handlers that it knows nothing about. Every handler answers for its own failures. */
export function createServer(options: ServerOptions): Server {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const traffic = createTraffic();
  const http = createHttpServer({
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: limits.checkIntervalMs,
    maxHeaderSize: limits.maxHeaderBytes,
    insecureHTTPParser: false,
    // `Upgrade: h2c`, which curl may offer, is an ordinary request to a server that does not speak it.
    shouldUpgradeCallback: (request) =>
      options.upgrade !== undefined && request.headers.upgrade?.toLowerCase() === 'websocket',
  });
  acceptRequests(http, options, limits, traffic);
  acceptUpgrades(http, options, traffic);

  const stopListening = once(() => new Promise<void>((resolve) => http.close(() => resolve())));
  const close = async () => {
    const stopped = stopListening();
    http.closeAllConnections();
    for (const socket of traffic.webSockets) socket.destroy();
    await stopped;
    // The handlers learn of a cut connection a moment after it, and what they then do belongs to their requests.
    await traffic.ended(limits.lastWordsMs);
  };
  const drain = async (graceMs: number) => {
    const deadline = Date.now() + graceMs;
    traffic.draining = true;
    options.onDraining?.();
    for (const response of traffic.responses) endConnectionAfter(response);
    await sleep(Math.min(limits.lingerMs, graceMs));
    // Waits for every connection, of which the idle ones are closed now and the others below.
    void stopListening();
    if (!(await traffic.ended(deadline - Date.now()))) {
      options.onGraceOver?.();
      await traffic.ended(limits.lastWordsMs);
    }
    await close();
  };
  return {
    listen: (host, port) => listen(http, host, port),
    drain,
    close,
    inFlight: () => traffic.responses.size + traffic.webSockets.size,
    get draining() {
      return traffic.draining;
    },
  };
}

function acceptRequests(
  http: HttpServer,
  options: ServerOptions,
  limits: ServerLimits,
  traffic: Traffic,
): void {
  const takeTurn = createTurns(BEGUN_PER_TURN);
  const serve: RequestListener = (request, response) => {
    traffic.responses.add(response);
    response.on('close', () => {
      traffic.responses.delete(response);
      traffic.changed();
    });
    cutWhenStalled(response, limits.stallMs);
    if (traffic.draining) endConnectionAfter(response);
    request.url = withoutAuthority(request.url);
    const handler = handlerFor(options, request.url);
    if (request.method !== 'POST') handler(request, response);
    else {
      takeTurn(() => {
        // Who has left meanwhile gets nothing begun.
        if (!request.destroyed) handler(request, response);
      });
    }
  };
  http.on('connection', writeInOnePiece);
  http.on('request', serve);
  http.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    // The handler refuses the body by its announced length. The client may send it all the same, so the connection ends.
    if (Number(request.headers['content-length']) > limits.maxBodyBytes) endConnectionAfter(response);
    else response.writeContinue();
    serve(request, response);
  });
  http.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const answering = [...traffic.responses].some((one) => one.socket === socket && one.headersSent);
    if (answering || !socket.writable) socket.destroy();
    else refuse(socket, ...explain(error.code));
  });
}

function acceptUpgrades(http: HttpServer, options: ServerOptions, traffic: Traffic): void {
  http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (traffic.draining) return refuse(socket, 503, 'The server is shutting down.');
    traffic.webSockets.add(socket);
    socket.once('close', () => {
      traffic.webSockets.delete(socket);
      traffic.changed();
    });
    request.url = withoutAuthority(request.url);
    options.upgrade?.(request, socket, head);
  });
}

function endConnectionAfter(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('connection', 'close');
}

/**
 * A complete answer waits in memory until its reader has taken it, however long that takes. The socket counts the time
 * since it last got rid of anything, and one that has run out is destroyed by the server.
 */
function cutWhenStalled(response: ServerResponse, stallMs: number): void {
  response.on('prefinish', () => {
    const { socket } = response;
    // Most answers are with the kernel by now.
    if (!socket || socket.writableLength === 0) return;
    socket.setTimeout(stallMs);
    // Before the server sets the timeout of an idle connection, or goes on to an answer that may still be in the making.
    response.prependOnceListener('finish', () => socket.setTimeout(0));
  });
}

function handlerFor({ handlers, fallback }: ServerOptions, url: string): RequestListener {
  const path = pathOf(url);
  const mount = handlers.find(
    (candidate) => path === candidate.path || path.startsWith(`${candidate.path}/`),
  );
  return mount?.handler ?? fallback;
}

/** `GET http://host/path` is allowed, and the same as `GET /path`: nobody may route by the one and authorize by the other. */
function withoutAuthority(url = '/'): string {
  if (url.startsWith('/')) return url;
  const path = url.replace(/^https?:\/\/[^/?#]*/i, '');
  return path === url || path.startsWith('/') ? path : `/${path}`;
}

/** What to answer to a request that is not one. */
function explain(code: string | undefined): readonly [number, string] {
  if (code === 'HPE_HEADER_OVERFLOW') return [431, 'The request headers are too large.'];
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return [413, 'The chunk extensions are too large.'];
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return [408, 'The request took too long to arrive.'];
  return [400, 'The request is not valid HTTP/1.1.'];
}

/** Answers on a bare socket, in the error shape of the REST API, and closes it. */
function refuse(socket: Duplex, status: number, message: string): void {
  const type = status < 500 ? 'invalid_request_error' : 'server_error';
  const body = JSON.stringify({ error: { message, type, param: null, code: null } });
  // Nothing listens to a socket that has left the server, and an error without a listener ends the process.
  socket.on('error', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

function listen(http: HttpServer, host: string, port: number): Promise<{ readonly port: number }> {
  return new Promise((resolve, reject) => {
    http.once('error', reject);
    http.listen({ port, host, backlog: BACKLOG }, () => {
      http.off('error', reject);
      const address = http.address();
      resolve({ port: typeof address === 'object' && address ? address.port : port });
    });
  });
}

/** What is under way. */
interface Traffic {
  draining: boolean;
  readonly responses: Bag<ServerResponse>;
  readonly webSockets: Set<Duplex>;
  /** To be called whenever something has left the sets. */
  changed(): void;
  /** Resolves when nothing is under way, or else after `ms`. @returns whether nothing is. */
  ended(ms: number): Promise<boolean>;
}

function createTraffic(): Traffic {
  const responses = new Bag<ServerResponse>();
  const webSockets = new Set<Duplex>();
  const hasEnded = () => responses.size + webSockets.size === 0;
  let wake: (() => void) | undefined;
  return {
    draining: false,
    responses,
    webSockets,
    changed() {
      if (hasEnded()) wake?.();
    },
    async ended(ms) {
      if (hasEnded() || ms <= 0) return hasEnded();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms).unref();
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      return hasEnded();
    },
  };
}

function once<T>(act: () => T): () => T {
  let result: { readonly value: T } | undefined;
  return () => {
    result ??= { value: act() };
    return result.value;
  };
}

/** Does not keep the process alive: while there is something to wait for, a socket does. */
function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
