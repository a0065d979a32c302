import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Clock } from '../../core/ports.ts';
import type { Cap } from './caps.ts';

export interface UnfinishedLimits {
  /** How long a message may take from its first byte to its last, in milliseconds. */
  readonly withinMs: number;
  /** Bytes of messages that each key has begun and not finished, over all its sockets. */
  readonly perKey: Cap;
  readonly clock: Clock;
  /** Undefined until the key is known, before which a socket may send next to nothing. */
  readonly keyId: () => string | undefined;
  readonly onLate: () => void;
  readonly onExcess: () => void;
}

/** The bytes of a pong or a ping around what it says: two for its head, four for its mask. */
const FRAME_BYTES = 6;

/**
 * Watches the message that is coming in on a WebSocket, which the library keeps until it is whole, for as long as that
 * takes. Bytes are counted as they come; what arrives together with the end of another message, which is little, is not.
 */
export function limitUnfinished(socket: WebSocket, stream: Duplex, limits: UnfinishedLimits): void {
  let unfinished = 0;
  let taken = 0;
  let cancelTimer = () => {};

  const finish = (bytes: number) => {
    unfinished -= Math.min(bytes, unfinished);
    if (unfinished === 0) cancelTimer();
    const given = Math.min(bytes, taken);
    taken -= given;
    const keyId = limits.keyId();
    if (keyId !== undefined) limits.perKey.give(keyId, given);
  };
  stream.on('data', ({ length }: Buffer) => {
    if (unfinished === 0) cancelTimer = limits.clock.after(limits.withinMs, limits.onLate);
    unfinished += length;
    const keyId = limits.keyId();
    if (keyId === undefined) return;
    if (limits.perKey.take(keyId, length)) taken += length;
    else limits.onExcess();
  });
  // These may come in the middle of a message, and do not end it.
  socket.on('ping', ({ length }: Buffer) => finish(length + FRAME_BYTES));
  socket.on('pong', ({ length }: Buffer) => finish(length + FRAME_BYTES));
  socket.on('message', () => finish(Number.POSITIVE_INFINITY));
  socket.once('close', () => finish(Number.POSITIVE_INFINITY));
}
