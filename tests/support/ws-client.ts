import { once } from 'node:events';
import { WebSocket } from 'ws';

export interface Message {
  readonly type: string;
  readonly id?: string;
  readonly payload?: {
    readonly data?: Record<string, unknown> | null;
    readonly errors?: readonly { readonly message: string; readonly extensions: { readonly code: string } }[];
  } & readonly { readonly message: string; readonly extensions: { readonly code: string } }[];
}

/** A WebSocket client that says exactly what it is told to, and keeps what it hears. */
export interface WsClient {
  readonly socket: WebSocket;
  /** A string as it is, anything else as JSON. */
  send(message: unknown): void;
  /** The next message not yet taken. Rejects when the socket closes before. */
  next(): Promise<Message>;
  /** Everything heard and not yet taken. */
  heard(): readonly Message[];
  /** How the socket was closed. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  /** Sends `connection_init` with this payload, and takes the acknowledgement. */
  init(payload?: unknown): Promise<void>;
  subscribe(id: string, query: string, variables?: unknown): void;
}

export async function openWsClient(
  url: string,
  options: {
    readonly protocols?: string[];
    readonly headers?: Readonly<Record<string, string>>;
    readonly origin?: string;
  } = {},
): Promise<WsClient> {
  const { protocols = ['graphql-transport-ws'], headers, origin } = options;
  const socket = new WebSocket(url, protocols, { ...(headers && { headers }), ...(origin && { origin }) });
  const messages: Message[] = [];
  const waiting: { resolve(message: Message): void; reject(error: Error): void }[] = [];
  socket.on('message', (data) => {
    const message: Message = JSON.parse(data.toString());
    const waiter = waiting.shift();
    if (waiter) waiter.resolve(message);
    else messages.push(message);
  });
  let end: Error | undefined;
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => {
      resolve({ code, reason: reason.toString() });
      end = new Error(`the socket was closed with ${code} ${reason}`);
      for (const waiter of waiting) waiter.reject(end);
    });
  });
  // A handshake that is refused rejects below; later failures show as the close.
  await once(socket, 'open');
  socket.on('error', () => undefined);

  const client: WsClient = {
    socket,
    closed,
    heard: () => messages,
    send: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
    next() {
      const message = messages.shift();
      if (message) return Promise.resolve(message);
      if (end) return Promise.reject(end);
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    },
    async init(payload) {
      client.send({ type: 'connection_init', payload });
      const { type } = await client.next();
      if (type !== 'connection_ack') throw new Error(`${type} in the place of connection_ack`);
    },
    subscribe: (id, query, variables) =>
      client.send({
        id,
        type: 'subscribe',
        payload: { query, ...(variables !== undefined && { variables }) },
      }),
  };
  return client;
}

/** The status that a handshake was refused with. */
export async function refusedHandshake(
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<number | undefined> {
  const socket = new WebSocket(url, ['graphql-transport-ws'], { headers });
  socket.on('error', () => undefined);
  const [, response] = await once(socket, 'unexpected-response');
  response.resume();
  socket.terminate();
  return response.statusCode;
}
