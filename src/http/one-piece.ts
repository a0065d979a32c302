import { Socket } from 'node:net';

/**
 * What is longer, which tokens are not, goes out as it is. All that goes out to a reader who takes no more would otherwise be
 * there twice, outside the heap, until the next collection.
 */
const MOST_BYTES = 2048;

type WriteMany = NonNullable<Socket['_writev']>;
type Pieces = Parameters<WriteMany>[0];

/** What streams call the encoding of what has none; their types do not know of it. */
const BYTES = 'buffer' as BufferEncoding;

/** Node's own. */
const writeApart = Socket.prototype._writev as WriteMany;

/**
 * Makes a socket hand what is written to it at once to the system in one piece. A frame of a WebSocket is two pieces, and
 * a chunk of HTTP four; Node passes them on as such, which takes longer than to copy them.
 */
export function writeInOnePiece(socket: Socket): void {
  socket._writev = function writeTogether(pieces, done) {
    const whole = join(pieces);
    if (whole) socket._write(whole, BYTES, done);
    else writeApart.call(socket, pieces, done);
  };
}

/** @returns undefined where that is too long. */
function join(pieces: Pieces): Buffer | undefined {
  let length = 0;
  for (const { chunk, encoding } of pieces) length += Buffer.byteLength(chunk, encoding);
  if (length > MOST_BYTES) return undefined;
  const whole = Buffer.allocUnsafe(length);
  let at = 0;
  for (const { chunk, encoding } of pieces) {
    if (typeof chunk === 'string') at += whole.write(chunk, at, encoding);
    else {
      whole.set(chunk, at);
      at += chunk.length;
    }
  }
  return whole;
}
