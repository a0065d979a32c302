import { connect as connectPlain, isIP, type NetConnectOpts, type Socket } from 'node:net';
import { connect as connectSecure } from 'node:tls';
import { type Head, type ResponseListener, ResponseParser } from './response.ts';

/** Whoever waits for an answer. After its end or its failure it is told nothing more. */
export interface Listener extends ResponseListener {
  /** All of what has been read at once has been passed on. Not called for the read with the end in it. */
  onRead(): void;
  onFailure(error: Error): void;
}

/** A request that has a connection or waits for one. Once it has its answer, nothing here does anything. */
export interface Sent {
  /** Takes no more of the answer for now; what has been read already still comes. */
  pause(): void;
  resume(): void;
  /** Ends it, and its connection with it. Its listener is told nothing more. */
  abort(): void;
}

/** The connections to one server. Each carries one request at a time, and is kept for others after it. */
export interface Connections {
  /** @param text the whole request as it goes over the wire, which it does once: nothing is ever sent again. */
  send(text: string, listener: Listener): Sent;
  /** Fails whatever is under way, with this reason. Resolves when every connection is closed. */
  close(reason: Error): Promise<void>;
}

export interface ConnectionsOptions {
  /** Only scheme, host and port of it count. */
  readonly url: URL;
  readonly connectTimeoutMs: number;
  /** Most connections at a time. Requests beyond wait in their order for one to come free. */
  readonly most: number;
}

/** An idle connection is kept this long; Ollama itself never closes one. */
const IDLE_MS = 30_000;
/** A server that says how long it keeps one may have done so before the next request arrives. */
const IDLE_MARGIN_MS = 1000;
/** After so long without a byte, the kernel asks whether the other side is still there. */
const PROBE_AFTER_MS = 60_000;

/**
 * Every connection reads into this: one read is over before the next begins. Of themselves sockets take 64 KB for each
 * read, which here is each token.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

export function createConnections({ url, connectTimeoutMs, most }: ConnectionsOptions): Connections {
  const open = new Set<Connection>();
  /** Last used last. */
  const idle: Connection[] = [];
  const waiting = new Set<Request>();
  let closing: { readonly reason: Error; readonly resolve: () => void } | undefined;

  const connect = (): Connection => {
    const connection = new Connection(url, connectTimeoutMs, {
      onIdle() {
        idle.push(connection);
        sendNext();
      },
      onClose() {
        open.delete(connection);
        const at = idle.indexOf(connection);
        if (at >= 0) idle.splice(at, 1);
        sendNext();
        if (open.size === 0) closing?.resolve();
      },
    });
    open.add(connection);
    return connection;
  };
  const findFree = (): Connection | undefined => {
    for (let connection = idle.pop(); connection; connection = idle.pop()) {
      if (connection.isFit()) return connection;
      connection.destroy();
    }
    return open.size < most ? connect() : undefined;
  };
  const sendNext = (): void => {
    const [next] = waiting;
    if (next === undefined) return;
    const connection = findFree();
    if (!connection) return;
    waiting.delete(next);
    connection.send(next);
  };

  const sweeps = setInterval(() => {
    for (const connection of [...idle]) if (!connection.isFit()) connection.destroy();
  }, IDLE_MS / 2).unref();

  return {
    send(text, listener) {
      const request = new Request(text, listener, waiting);
      if (closing) listener.onFailure(closing.reason);
      else {
        // Where others wait, none is free.
        const connection = findFree();
        if (connection) connection.send(request);
        else waiting.add(request);
      }
      return request;
    },
    async close(reason) {
      clearInterval(sweeps);
      const closed = new Promise<void>((resolve) => {
        closing = { reason, resolve };
      });
      for (const { listener } of waiting) listener.onFailure(reason);
      waiting.clear();
      if (open.size === 0) return;
      for (const connection of open) connection.destroy(reason);
      await closed;
    },
  };
}

class Request implements Sent {
  readonly listener: Listener;
  #text: string;
  readonly #waiting: Set<Request>;
  /** While it has one. */
  connection: Connection | undefined;

  constructor(text: string, listener: Listener, waiting: Set<Request>) {
    this.#text = text;
    this.listener = listener;
    this.#waiting = waiting;
  }

  /** What to send, once. It is not kept: the answer may take half an hour, and a prompt be megabytes of images. */
  takeText(): string {
    const text = this.#text;
    this.#text = '';
    return text;
  }

  pause(): void {
    this.connection?.pause();
  }

  resume(): void {
    this.connection?.resume();
  }

  abort(): void {
    this.#waiting.delete(this);
    this.connection?.abort();
  }
}

interface Owner {
  /** It can be given another request. */
  onIdle(): void;
  /** It is gone. Called once. */
  onClose(): void;
}

class Connection implements ResponseListener {
  readonly #socket: Socket;
  readonly #owner: Owner;
  readonly #parser = new ResponseParser(this);
  #request: Request | undefined;
  #failure: Error | undefined;
  #idleSince = 0;

  constructor(url: URL, timeoutMs: number, owner: Owner) {
    this.#owner = owner;
    const isSecure = url.protocol === 'https:';
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const options: NetConnectOpts = {
      host,
      port: Number(url.port || (isSecure ? 443 : 80)),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: PROBE_AFTER_MS,
      onread: { buffer: READ_BUFFER, callback: (length) => this.#read(length) },
    };
    const secure = isSecure && { ALPNProtocols: ['http/1.1'], ...(isIP(host) === 0 && { servername: host }) };
    this.#socket = secure ? connectSecure({ ...options, ...secure }) : connectPlain(options);
    const timer = setTimeout(() => this.destroy(new ConnectTimeout(timeoutMs)), timeoutMs);
    this.#socket.once(isSecure ? 'secureConnect' : 'connect', () => clearTimeout(timer));
    this.#socket.once('error', (error) => {
      this.#failure ??= error;
    });
    this.#socket.once('end', () => {
      this.#parser.end();
      this.#socket.destroy();
    });
    this.#socket.once('close', () => {
      clearTimeout(timer);
      this.#detach()?.listener.onFailure(this.#failure ?? new ClosedEarly());
      owner.onClose();
    });
  }

  /** Whether the other side can be expected to take another request. */
  isFit(): boolean {
    const idleMs = Math.min(IDLE_MS, this.#parser.idleMs - IDLE_MARGIN_MS);
    return !this.#socket.destroyed && performance.now() - this.#idleSince < idleMs;
  }

  send(request: Request): void {
    this.#request = request;
    request.connection = this;
    this.#parser.next();
    this.#socket.write(request.takeText());
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    if (this.#socket.isPaused()) this.#socket.resume();
  }

  abort(): void {
    this.#detach();
    this.#socket.destroy();
  }

  destroy(reason?: Error): void {
    this.#failure ??= reason;
    this.#socket.destroy();
  }

  onHead(head: Head): void {
    this.#request?.listener.onHead(head);
  }

  onBody(bytes: Buffer, start: number, end: number): void {
    this.#request?.listener.onBody(bytes, start, end);
  }

  onEnd(): void {
    this.#detach()?.listener.onEnd();
  }

  /** @returns whether to go on reading. */
  #read(length: number): boolean {
    try {
      this.#parser.push(READ_BUFFER, length);
    } catch (error) {
      this.destroy(error as Error);
      return false;
    }
    this.#request?.listener.onRead();
    // Not before all that was read has been looked at: what follows an answer is not the answer to the next request.
    if (this.#parser.isDone && !this.#socket.destroyed) this.#free();
    return !this.#socket.isPaused();
  }

  #free(): void {
    // A server that has answered before it read the request takes what is left of it for the next one.
    if (!this.#parser.isPersistent || this.#socket.writableLength > 0) {
      this.#socket.destroy();
      return;
    }
    this.resume();
    this.#idleSince = performance.now();
    this.#owner.onIdle();
  }

  #detach(): Request | undefined {
    const request = this.#request;
    if (request) request.connection = undefined;
    this.#request = undefined;
    return request;
  }
}

/** The other side has closed the connection, or it broke, and nobody said more than that. */
class ClosedEarly extends Error {
  override readonly name = 'ClosedEarly';
}

class ConnectTimeout extends Error {
  readonly code = 'ETIMEDOUT';

  constructor(ms: number) {
    super(`no connection within ${ms} ms`);
  }
}
