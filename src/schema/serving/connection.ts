import type { RawData, WebSocket } from 'ws';
import type { Clock } from '../../core/ports.ts';
import { Bag } from '../../domain/bag.ts';
import { clientClosed } from '../../domain/error.ts';
import { findExcess, type JsonBounds } from '../../http/json-bounds.ts';
import { createAllowance } from './caps.ts';
import type { SocketLimits } from './limits.ts';

/** Why a connection ends, beyond what the protocol itself says: RFC 6455, section 7.4, and the protocol's own codes. */
export const CLOSE = {
  goingAway: { code: 1001, reason: 'Going away' },
  flood: { code: 1008, reason: 'Too many messages' },
  unread: { code: 1008, reason: 'Too many answers left unread' },
  tooSlow: { code: 1008, reason: 'A message took too long' },
  pingTooLarge: { code: 1009, reason: 'The payload of a ping is too large' },
  tooMuchBeforeInit: { code: 1009, reason: 'Too much before connection_init' },
  tryAgainLater: { code: 1013, reason: 'Try again later' },
  tooMuchUnfinished: { code: 1013, reason: 'Too many unfinished messages with this key' },
  tooManySockets: { code: 1013, reason: 'Too many connections with this key' },
  invalidMessage: { code: 4400, reason: 'Invalid message received' },
  idTooLong: { code: 4400, reason: 'The id is too long' },
  forbidden: { code: 4403, reason: 'Forbidden' },
  internalError: { code: 4500, reason: 'Internal server error' },
} as const satisfies Record<string, CloseReason>;

interface CloseReason {
  readonly code: number;
  readonly reason: string;
}

/** A WebSocket that neither floods, nor stalls, nor lingers, and takes its operations along when it ends. */
export interface Connection {
  readonly socket: WebSocket;
  /** Operations under way; aborted when the connection begins to end. */
  readonly operations: Bag<AbortController>;
  readonly closing: boolean;
  /**
   * @returns undefined where the message is on its way already, and else what resolves when it is: that the reader is slow
   * is felt here.
   */
  send(data: string): Promise<void> | undefined;
  /** Ends every operation at once, and then the connection, by the closing handshake if the client takes part. */
  close(why: CloseReason, operationsEnd?: Error): void;
  onMessage(listener: (data: string) => Promise<void>): void;
}

export function createConnection(
  socket: WebSocket,
  limits: SocketLimits,
  bounds: JsonBounds,
  clock: Clock,
): Connection {
  const operations = new Bag<AbortController>();
  const mayCome = createAllowance(limits.messagesPerSecond, limits.messageBurst, clock);
  const stall = createStallGuard(limits.stallMs, clock, () => socket.terminate());
  const cancels: (() => void)[] = [keepAlive(socket, limits.pingMs, stall, clock), stall.cancel];
  let closing = false;

  const abort = (reason?: Error) => {
    closing = true;
    for (const operation of operations) operation.abort(reason ?? clientClosed());
    operations.clear();
  };
  const close: Connection['close'] = ({ code, reason }, operationsEnd) => {
    if (closing) return;
    abort(operationsEnd);
    socket.close(code, reason);
  };
  const count = () => {
    if (!mayCome()) close(CLOSE.flood);
  };
  // A ping is answered by the library, so it costs as much as a message; and so does a pong that nobody asked for.
  socket.on('ping', count);
  socket.on('pong', count);
  // The library answers what is not WebSocket at all, and closes; without a listener it would end the process.
  socket.on('error', () => abort());
  socket.once('close', () => {
    abort();
    for (const cancel of cancels) cancel();
  });

  return {
    socket,
    operations,
    get closing() {
      return closing;
    },
    send(data) {
      if (socket.readyState !== socket.OPEN) return undefined;
      stall.sending();
      // Where it could not be sent the connection is ending, and that ends whatever sends.
      socket.send(data, stall.sent);
      return socket.bufferedAmount === 0 ? undefined : stall.allSent();
    },
    close,
    onMessage(listener) {
      socket.on('message', (data: RawData, isBinary: boolean) => {
        if (closing) return;
        count();
        if (stall.pending() > limits.operations + limits.repliesUnread) close(CLOSE.unread);
        if (closing) return;
        // Which operation it is about, nobody can tell before it is parsed.
        const excess = data instanceof Buffer ? findExcess(data, bounds) : undefined;
        if (excess) return close({ ...CLOSE.invalidMessage, reason: `The message ${excess.sentence}` });
        void listener(isBinary ? '' : data.toString());
      });
    },
  };
}

type StallGuard = ReturnType<typeof createStallGuard>;

/**
 * Acts when something has been on its way for `stallMs` and nothing has arrived meanwhile. Its timer is set anew when it
 * fires and not for each message, which mostly has arrived before the next.
 */
function createStallGuard(stallMs: number, clock: Clock, act: () => void) {
  let pending = 0;
  /** When something has arrived last, or was the only thing on its way. */
  let movedAt = 0;
  let cancel: (() => void) | undefined;
  let waiting: PromiseWithResolvers<void> | undefined;
  const look = () => {
    cancel = undefined;
    if (pending === 0) return;
    const leftMs = movedAt + stallMs - clock.now();
    if (leftMs > 0) cancel = clock.after(leftMs, look);
    else act();
  };
  return {
    sending() {
      if (pending++ > 0) return;
      movedAt = clock.now();
      cancel ??= clock.after(stallMs, look);
    },
    sent() {
      pending--;
      movedAt = clock.now();
      if (pending > 0) return;
      waiting?.resolve();
      waiting = undefined;
    },
    /** Resolves when nothing is on its way. */
    allSent() {
      waiting ??= Promise.withResolvers();
      return waiting.promise;
    },
    pending: () => pending,
    cancel: () => cancel?.(),
  };
}

/**
 * Pings now and then. Whoever has not answered when the next one is due is gone; but while something is on its way, so may
 * be the ping, and whether the client reads is for the stall guard to say. @returns the function that ends it.
 */
function keepAlive(socket: WebSocket, pingMs: number, stall: StallGuard, clock: Clock): () => void {
  let answered = true;
  let cancel = () => {};
  const ping = () => {
    if (stall.pending() > 0) answered = true;
    else {
      if (!answered) return socket.terminate();
      answered = false;
      if (socket.readyState === socket.OPEN) {
        stall.sending();
        socket.ping(undefined, undefined, stall.sent);
      }
    }
    cancel = clock.after(pingMs, ping);
  };
  socket.on('pong', () => {
    answered = true;
  });
  cancel = clock.after(pingMs, ping);
  return () => cancel();
}
