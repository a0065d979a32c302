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
    expect((await exchange.read())?.length).toBe(sent);
    expect(connection.paused).toBe(false);
  });

  test('keeps what it was given, though the bytes are others afterwards', async () => {
    const { exchange, answer } = open();
    answer();
    const bytes = Buffer.from('no, one of many');
    exchange.onBody(bytes, 4, 7);
    bytes.fill('x');
    expect(String(await exchange.read())).toBe('one');
  });

  test('hands over in one read what came since the last', async () => {
    const { exchange, answer, send } = open();
    answer();
    send(3);
    send(4);
    expect((await exchange.read())?.length).toBe(7);
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
    const read = reading.exchange.read();
    reading.abort.abort(reason);
    await expect(read).rejects.toBe(reason);
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
    expect((await exchange.read())?.length).toBe(5);
    await expect(exchange.read()).rejects.toMatchObject({ code: 'upstream_incomplete' });
  });
});
