import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, expect, test } from '@jest/globals';
import { writeInOnePiece } from '../../../src/http/one-piece.ts';

const opened: { destroy(): void }[] = [];
afterEach(() => {
  for (const one of opened.splice(0)) one.destroy();
});

/** A socket that writes in one piece, what it has handed on as one, and who reads it. */
async function openPair() {
  const listener = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  opened.push({ destroy: () => listener.close() });
  await once(listener, 'listening');
  const address = listener.address();
  if (typeof address !== 'object' || !address) throw new Error('there is no port');
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  const reader = connect(address.port, '127.0.0.1');
  const [socket] = await accepted;
  opened.push(reader, socket);
  const pieces: unknown[] = [];
  const write = socket._write.bind(socket);
  socket._write = (piece, ...rest) => {
    pieces.push(piece);
    write(piece, ...rest);
  };
  writeInOnePiece(socket);
  return { socket, reader, pieces };
}

function together(socket: Socket, act: () => void): void {
  socket.cork();
  act();
  socket.uncork();
}

test('what is written at once goes out in one piece, in its order, whatever it is written as', async () => {
  const { socket, reader, pieces } = await openPair();
  together(socket, () => {
    socket.write(new Uint8Array([0x81, 0x05]));
    socket.write('Grüße €\u{1f600} ');
    socket.write('\u00fc', 'latin1');
    socket.write(Buffer.from('end'));
    socket.end();
  });
  const whole = Buffer.concat([
    Buffer.from([0x81, 0x05]),
    Buffer.from('Grüße €\u{1f600} '),
    Buffer.from([0xfc]),
    Buffer.from('end'),
  ]);
  expect(await buffer(reader)).toEqual(whole);
  expect(pieces).toEqual([whole]);
});

test('what is long is not copied and arrives whole too, and each piece is told when it is on its way', async () => {
  const { socket, reader, pieces } = await openPair();
  const texts = ['short', 'é'.repeat(20_000), 'x'.repeat(1_000_000), 'short again'];
  const arrived = buffer(reader);
  const told: number[] = [];
  together(socket, () => {
    for (const [index, text] of texts.entries()) socket.write(text, () => told.push(index));
  });
  socket.end();
  expect((await arrived).toString()).toBe(texts.join(''));
  expect(told).toEqual([0, 1, 2, 3]);
  expect(pieces).toEqual([]);
});

test('a reader that is behind is felt, and gets everything once it reads', async () => {
  const { socket, reader } = await openPair();
  reader.pause();
  const text = 'y'.repeat(1000);
  let count = 0;
  let hasRoom = true;
  while (hasRoom || count % 2 === 1) {
    together(socket, () => {
      socket.write('head');
      hasRoom = socket.write(text);
    });
    count++;
    if (count % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
  expect((await buffer(reader)).toString()).toBe(`head${text}`.repeat(count));
});
