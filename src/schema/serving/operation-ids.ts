import type { ExecutionResult } from 'graphql';
import { CLOSE, type Connection } from './connection.ts';

/** The longest id of an operation, in characters. Every message about the operation repeats it. */
export const MAX_ID_LENGTH = 256;
/** How graphql-ws writes the messages about an operation. */
const ABOUT_OPERATION = /^\{"id":"(\d+)","type":"(\w+)"/;

/** What goes over a connection, in the terms of graphql-ws and its ids. */
export interface Messages extends Pick<Connection, 'send' | 'onMessage'> {
  /** One result of an operation. Resolves as `Connection.send` does. */
  next(ownId: string, result: ExecutionResult): Promise<void> | undefined;
}

interface OperationId {
  readonly id: string;
  readonly json: string;
}

/**
 * The connection as graphql-ws gets to see it: with each operation under an id of its own.
 *
 * What graphql-ws knows of an operation it keeps until the last message is on its way, and then removes it by its id. By
 * that time the client may have given the id to another operation, which would be the one that is removed: it could not be
 * stopped any more. What is sent for an operation that its client has completed goes nowhere.
 */
export function withOwnIds(connection: Connection): Messages {
  /** By the client's id, and by its own. */
  const own = new Map<string, string>();
  const clients = new Map<string, OperationId>();
  let count = 0;

  const add = (id: string): string => {
    const ownId = String(count++);
    own.set(id, ownId);
    clients.set(ownId, { id, json: JSON.stringify(id) });
    return ownId;
  };
  const remove = (ownId: string) => {
    const client = clients.get(ownId);
    clients.delete(ownId);
    if (client) own.delete(client.id);
  };

  /** @returns the message for graphql-ws, or undefined where it is none of its business. */
  const receive = (message: unknown): unknown => {
    if (isOfServer(message)) return void connection.close(CLOSE.invalidMessage);
    if (!isAboutOperation(message)) return message;
    const { id, type } = message;
    const known = own.get(id);
    if (type === 'complete') {
      if (known === undefined) return undefined;
      remove(known);
      return { ...message, id: known };
    }
    if (known !== undefined) return void connection.close(inUse(id));
    if (id.length > MAX_ID_LENGTH) return void connection.close(CLOSE.idTooLong);
    return { ...message, id: add(id) };
  };

  return {
    send(data) {
      const [start = '', ownId = '', type] = ABOUT_OPERATION.exec(data) ?? [];
      if (start === '') return connection.send(data);
      const client = clients.get(ownId);
      if (!client) return undefined;
      if (type !== 'next') remove(ownId);
      return connection.send(`{"id":${client.json},"type":"${type}"${data.slice(start.length)}`);
    },
    next(ownId, result) {
      const client = clients.get(ownId);
      if (!client) return undefined;
      return connection.send(`{"id":${client.json},"type":"next","payload":${JSON.stringify(result)}}`);
    },
    onMessage: (listener) =>
      connection.onMessage((data) => {
        const message = receive(parse(data));
        // It takes a message that is parsed as well, which its types do not say. The text, which it would keep for as long
        // as the operation runs, is done with here.
        return message === undefined ? Promise.resolve() : listener(message as string);
      }),
  };
}

/** As the protocol says it, where a close frame has room for that. */
function inUse(id: string) {
  return { code: 4409, reason: Buffer.byteLength(id) > 90 ? '' : `Subscriber for ${id} already exists` };
}

/** @returns text that is no JSON as it is, for graphql-ws to refuse. */
function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

/** What only a server may say. graphql-ws takes it for a message as good as any, and then for a mistake of its own. */
const OF_SERVER: readonly unknown[] = ['connection_ack', 'next', 'error'];

function isOfServer(message: unknown): boolean {
  return (
    typeof message === 'object' && message !== null && 'type' in message && OF_SERVER.includes(message.type)
  );
}

interface AboutOperation {
  readonly type: 'subscribe' | 'complete';
  readonly id: string;
}

/** Whether it is one as the protocol has it; all others are for graphql-ws to refuse. */
function isAboutOperation(message: unknown): message is AboutOperation {
  if (typeof message !== 'object' || message === null || !('type' in message) || !('id' in message))
    return false;
  const { type, id } = message;
  return (type === 'subscribe' || type === 'complete') && typeof id === 'string' && id !== '';
}
