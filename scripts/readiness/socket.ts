import type { Client } from './client.ts';
import { parseJson, valueAt } from './json.ts';

/** What came of a WebSocket: a first result, a refusal of the operation, a close by the server, or none of these. */
export type SocketOutcome =
  | { readonly kind: 'result' }
  | { readonly kind: 'refused'; readonly code: string }
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string }
  | { readonly kind: 'failed'; readonly why: string };

/** With which the gateway closes a WebSocket whose key it does not accept. */
export const FORBIDDEN = 4403;

export function describeOutcome(outcome: SocketOutcome): string {
  switch (outcome.kind) {
    case 'result':
      return 'answered';
    case 'refused':
      return outcome.code;
    case 'closed':
      return `closed with ${outcome.code} ${outcome.reason}`.trimEnd();
    case 'failed':
      return outcome.why;
  }
}

/**
 * Opens a WebSocket, introduces itself by the key, and waits for the first result of an operation.
 * @param key null: introduces itself without one.
 */
export function askBySocket(client: Client, key: string | null, document: string): Promise<SocketOutcome> {
  const { promise, resolve } = Promise.withResolvers<SocketOutcome>();
  const limit = AbortSignal.any([client.signal, AbortSignal.timeout(client.timeoutMs)]);
  const socket = new WebSocket(client.socketUrl('/graphql'), 'graphql-transport-ws');
  const send = (message: object) => socket.send(JSON.stringify(message));
  const giveUp = () => resolve({ kind: 'failed', why: 'no answer in time' });
  let opened = false;
  limit.addEventListener('abort', giveUp, { once: true });
  socket.onopen = () => {
    opened = true;
    const payload = key === null ? {} : { authorization: `Bearer ${key}` };
    send({ type: 'connection_init', payload });
  };
  // A close follows, and says more where there had been a WebSocket.
  socket.onerror = () => {
    if (!opened) resolve({ kind: 'failed', why: 'the handshake was refused' });
  };
  socket.onclose = ({ code, reason }) => resolve({ kind: 'closed', code, reason });
  socket.onmessage = ({ data }) => {
    const message = parseJson(String(data));
    const type = valueAt(message, 'type');
    if (type === 'connection_ack') send({ id: '1', type: 'subscribe', payload: { query: document } });
    else if (type === 'ping') send({ type: 'pong' });
    else if (type === 'next') resolve({ kind: 'result' });
    else if (type === 'error') {
      const code = valueAt(message, 'payload', 0, 'extensions', 'code');
      resolve({ kind: 'refused', code: String(code) });
    }
  };
  return promise.finally(() => {
    limit.removeEventListener('abort', giveUp);
    socket.close();
  });
}
