import { once } from 'node:events';
import { connect } from 'node:net';

/** A TCP client that sends exactly the bytes it is told to, and keeps everything that comes back. */
export interface RawSocket {
  send(text: string): void;
  /** Everything received so far, one character per byte. */
  received(): string;
  /** Resolves with everything received, as soon as that matches. Rejects if the connection ends before. */
  until(pattern: RegExp): Promise<string>;
  /** Resolves with everything received when the server has closed the connection, in order or not. */
  closed(): Promise<string>;
  destroy(): void;
  /** Says that nothing more will be sent, and goes on reading. */
  end(): void;
  /** Closes with a TCP reset, as a client does that dies. */
  reset(): void;
  /** Takes no more of what comes, and leaves the connection open. */
  stopReading(): void;
}

/** @param from the address it comes from; any of 127.0.0.0/8. */
export async function openRawSocket(port: number, from = '127.0.0.1'): Promise<RawSocket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  await once(socket, 'connect');
  socket.setEncoding('latin1').setNoDelay(true);
  let text = '';
  let ended = false;
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const look of waiting) look();
  };
  socket.on('data', (chunk: string) => {
    text += chunk;
    wake();
  });
  // A reset is one of the ways in which a server closes a connection.
  socket.on('error', () => undefined);
  socket.on('close', () => {
    ended = true;
    wake();
  });
  return {
    send: (bytes) => void socket.write(bytes, 'latin1'),
    received: () => text,
    until: (pattern) =>
      wait(waiting, (resolve, reject) => {
        if (pattern.test(text)) resolve(text);
        else if (ended) reject(new Error(`the connection ended before ${pattern}; received: ${text}`));
      }),
    closed: () =>
      wait(waiting, (resolve) => {
        if (ended) resolve(text);
      }),
    destroy: () => void socket.destroy(),
    end: () => void socket.end(),
    reset: () => void socket.resetAndDestroy(),
    stopReading: () => void socket.pause(),
  };
}

function wait(
  waiting: Set<() => void>,
  look: (resolve: (text: string) => void, reject: (error: Error) => void) => void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const settle = () => waiting.delete(retry);
    const retry = () =>
      look(
        (text) => {
          settle();
          resolve(text);
        },
        (error) => {
          settle();
          reject(error);
        },
      );
    waiting.add(retry);
    retry();
  });
}
