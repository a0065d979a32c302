/** The HTTP server of a replica, with a script in the place of the gateway: what nginx sends, and what it makes of answers. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { createServer } from '../../src/server.ts';

export interface ReceivedRequest {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** One character per byte; empty where there is none. */
  readonly body: string;
}

export interface ScriptedReplica {
  /** As nginx lists it, e.g. `127.0.0.1:4001`. */
  readonly address: string;
  /** Those that have arrived as a whole, handshakes of WebSockets included, in that order. */
  readonly requests: readonly ReceivedRequest[];
  /** How many connections requests have come on. */
  connections(): number;
  close(): Promise<void>;
}

/** Called when a request is there with all of its body. To destroy the response is to die before it is answered. */
export type Answer = (response: ServerResponse, request: ReceivedRequest) => void;
/** Called with the connection of a handshake. */
export type AnswerUpgrade = (socket: Duplex, request: ReceivedRequest) => void;

export async function startScriptedReplica(
  answer: Answer,
  answerUpgrade?: AnswerUpgrade,
): Promise<ScriptedReplica> {
  const requests: ReceivedRequest[] = [];
  const sockets = new WeakSet<Duplex>();
  let connections = 0;
  const count = ({ socket }: IncomingMessage) => {
    if (!sockets.has(socket)) connections++;
    sockets.add(socket);
  };
  const server = createServer({
    handlers: [],
    async fallback(message, response) {
      count(message);
      const request = await receive(message);
      requests.push(request);
      answer(response, request);
    },
    ...(answerUpgrade && {
      upgrade(message, socket) {
        count(message);
        const request = describe(message, '');
        requests.push(request);
        answerUpgrade(socket, request);
      },
    }),
  });
  const { port } = await server.listen('127.0.0.1', 0);
  return {
    address: `127.0.0.1:${port}`,
    requests,
    connections: () => connections,
    close: () => server.close(),
  };
}

async function receive(message: IncomingMessage): Promise<ReceivedRequest> {
  let body = '';
  for await (const chunk of message.setEncoding('latin1')) body += chunk;
  return describe(message, body);
}

function describe({ method, url, headers }: IncomingMessage, body: string): ReceivedRequest {
  return { method, url, headers, body };
}
