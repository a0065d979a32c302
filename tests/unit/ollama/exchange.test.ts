import { describe, expect, test } from '@jest/globals';
import { Exchange } from '../../../src/providers/ollama/exchange.ts';

/** The connection's side of an exchange. */
function connect(exchange: Exchange) {
  const connection = {
    paused: false,
    aborted: false,
    pause() {
      connection.paused = true;
    },
    resume() {
      connection.paused = false;
    },
    abort() {
      connection.aborted = true;
    },
  };
  exchange.attach(connection);
  return {
    connection,
    answer: () => exchange.onHead({ status: 200, headers: {} }),
    send(bytes: number) {
      exchange.onBody(Buffer.alloc(bytes + 2, 'x'), 1, bytes + 1);
      exchange.onRead();
    },
  };
}

/** The next bytes, once there are some; undefined after the end. */
function read(exchange: Exchange): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  return new Promise((resolve, reject) => {
    exchange.read({
      push: (bytes, start, end) => chunks.push(Buffer.from(bytes.subarray(start, end))),
      onRead() {
        resolve(Buffer.concat(chunks));
        return true;
      },
      onEnd: () => resolve(undefined),
      onFailure: reject,
    });
  });
}

function open() {
  const abort = new AbortController();
  const exchange = new Exchange('ollama-1', abort.signal);
  return { abort, exchange, ...connect(exchange) };
}

describe('an exchange', () => {
  test('pauses the connection while nobody reads, and resumes it when somebody does', async () => {
    const { exchange, connection, answer, send } = open();
    answer();
    let sent = 0;
    while (!connection.paused) {
      send(1024);
      sent += 1024;
      expect(sent).toBeLessThanOrEqual(64 * 1024);
    }
    expect((await read(exchange))?.length).toBe(sent);
    expect(connection.paused).toBe(false);
  });

  test('keeps what it was given, though the bytes are others afterwards', async () => {
    const { exchange, answer } = open();
    answer();
    const bytes = Buffer.from('no, one of many');
    exchange.onBody(bytes, 4, 7);
    bytes.fill('x');
    expect(String(await read(exchange))).toBe('one');
  });

  test('hands over in one read what came since the last', async () => {
    const { exchange, answer, send } = open();
    answer();
    send(3);
    send(4);
    expect((await read(exchange))?.length).toBe(7);
  });

  test('is over at once when its signal fires, whatever it waits for', async () => {
    const reason = new Error('left');
    const waiting = open();
    const head = waiting.exchange.head();
    waiting.abort.abort(reason);
    await expect(head).rejects.toBe(reason);
    expect(waiting.connection.aborted).toBe(true);

    const reading = open();
    reading.answer();
    const bytes = read(reading.exchange);
    reading.abort.abort(reason);
    await expect(bytes).rejects.toBe(reason);
    expect(reading.connection.aborted).toBe(true);
  });

  test('once released keeps its connection for the end of the body, but not for more than that', () => {
    const ending = open();
    ending.answer();
    ending.exchange.release();
    ending.abort.abort(new Error('left'));
    ending.send(100);
    ending.exchange.onEnd();
    expect(ending.connection.aborted).toBe(false);

    const flooding = open();
    flooding.answer();
    flooding.exchange.release();
    flooding.send(1024 * 1024);
    expect(flooding.connection.aborted).toBe(true);
  });

  test('that failed within its answer gives what came before the failure', async () => {
    const { exchange, answer, send } = open();
    answer();
    send(5);
    exchange.onFailure(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
    expect((await read(exchange))?.length).toBe(5);
    await expect(read(exchange)).rejects.toMatchObject({ code: 'upstream_incomplete' });
  });
});
