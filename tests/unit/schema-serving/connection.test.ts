import { EventEmitter } from 'node:events';
import { expect, test } from '@jest/globals';
import type { WebSocket } from 'ws';
import { createConnection } from '../../../src/schema/serving/connection.ts';
import { DEFAULT_LIMITS } from '../../../src/schema/serving/limits.ts';
import { createTestClock } from '../../support/clock.ts';

const BOUNDS = { depth: 10 };

/** A socket whose messages arrive when the test says so. */
class FakeSocket extends EventEmitter {
  readonly OPEN = 1;
  readonly readyState = 1;
  readonly underWay: (() => void)[] = [];
  isCut = false;

  send(_data: string, onSent: () => void): void {
    this.underWay.push(onSent);
  }

  terminate(): void {
    this.isCut = true;
  }
}

function open() {
  const clock = createTestClock();
  const socket = new FakeSocket();
  const limits = { ...DEFAULT_LIMITS.socket, stallMs: 5000, pingMs: 1e9 };
  const connection = createConnection(socket as unknown as WebSocket, limits, BOUNDS, clock);
  return {
    clock,
    socket,
    send: () => void connection.send('a message'),
    arrive: () => socket.underWay.shift()?.(),
  };
}

test('a reader is cut off when a message has been on its way for the limit, counted from when it was sent', async () => {
  const { clock, socket, send, arrive } = open();
  send();
  arrive();
  await clock.advance(4000);
  send();
  await clock.advance(4999);
  expect(socket.isCut).toBe(false);
  await clock.advance(1);
  expect(socket.isCut).toBe(true);
});

test('whenever a message arrives the others have the whole limit again', async () => {
  const { clock, socket, send, arrive } = open();
  for (let count = 0; count < 3; count++) send();
  await clock.advance(3000);
  arrive();
  await clock.advance(3000);
  arrive();
  await clock.advance(4999);
  expect(socket.isCut).toBe(false);
  await clock.advance(1);
  expect(socket.isCut).toBe(true);
});

test('a reader to whom nothing is on its way is left alone, and looked after no more', async () => {
  const { clock, socket, send, arrive } = open();
  const idle = clock.pending();
  for (let count = 0; count < 100; count++) {
    send();
    arrive();
  }
  expect(clock.pending()).toBe(idle + 1);
  await clock.advance(100_000);
  expect(socket.isCut).toBe(false);
  expect(clock.pending()).toBe(idle);
});

test('a connection that has ended leaves nothing behind that would look after it', async () => {
  const { clock, socket, send } = open();
  send();
  socket.emit('close');
  expect(clock.pending()).toBe(0);
});
