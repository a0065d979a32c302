import { describe, expect, test } from '@jest/globals';
import type { Dispatcher } from 'undici';
import { Exchange } from '../../../src/providers/ollama/exchange.ts';

/** The connection's side of an exchange, as undici plays it. */
function connect(exchange: Exchange) {
  let paused = false;
  let abortedWith: Error | null = null;
  const controller: Dispatcher.DispatchController = {
    get paused() {
      return paused;
    },
    get aborted() {
      return abortedWith !== null;
    },
    get reason() {
      return abortedWith;
    },
    abort(reason) {
      abortedWith = reason;
    },
    pause() {
      paused = true;
    },
    resume() {
      paused = false;
    },
  };
  exchange.onRequestStart(controller);
  return {
    controller,
    answer: (status = 200) => exchange.onResponseStart(controller, status, {}),
    send: (bytes: number) => exchange.onResponseData(controller, Buffer.alloc(bytes, 'x')),
  };
}

function open() {
  const abort = new AbortController();
  const exchange = new Exchange('ollama-1', abort.signal);
  return { abort, exchange, ...connect(exchange) };
}

describe('an exchange', () => {
  test('pauses the connection while nobody reads, and resumes it when somebody does', async () => {
    const { exchange, controller, answer, send } = open();
    answer();
    let sent = 0;
    while (!controller.paused) {
      send(1024);
      sent += 1024;
      expect(sent).toBeLessThanOrEqual(64 * 1024);
    }
    expect((await exchange.read())?.length).toBe(sent);
    expect(controller.paused).toBe(false);
  });

  test('hands over in one read what came since the last', async () => {
    const { exchange, answer, send } = open();
    answer();
    send(3);
    send(4);
    expect((await exchange.read())?.length).toBe(7);
  });

  test('takes no notice of an interim answer', async () => {
    const { exchange, answer } = open();
    answer(103);
    answer(200);
    expect((await exchange.head()).status).toBe(200);
  });

  test('is over at once when its signal fires, whatever it waits for', async () => {
    const reason = new Error('left');
    const waiting = open();
    const head = waiting.exchange.head();
    waiting.abort.abort(reason);
    await expect(head).rejects.toBe(reason);
    expect(waiting.controller.reason).toBe(reason);

    const reading = open();
    reading.answer();
    const read = reading.exchange.read();
    reading.abort.abort(reason);
    await expect(read).rejects.toBe(reason);
    expect(reading.controller.reason).toBe(reason);
  });

  test('is not sent where it was aborted while it waited for a connection', () => {
    const abort = new AbortController();
    const exchange = new Exchange('ollama-1', abort.signal);
    abort.abort(new Error('left'));
    expect(connect(exchange).controller.aborted).toBe(true);
  });

  test('once released keeps its connection for the end of the body, but not for more than that', () => {
    const ending = open();
    ending.answer();
    ending.exchange.release();
    ending.abort.abort(new Error('left'));
    ending.send(100);
    ending.exchange.onResponseEnd();
    expect(ending.controller.aborted).toBe(false);

    const flooding = open();
    flooding.answer();
    flooding.exchange.release();
    flooding.send(1024 * 1024);
    expect(flooding.controller.aborted).toBe(true);
  });

  test('that failed within its answer gives what came before the failure', async () => {
    const { exchange, controller, answer, send } = open();
    answer();
    send(5);
    exchange.onResponseError(controller, Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
    expect((await exchange.read())?.length).toBe(5);
    await expect(exchange.read()).rejects.toMatchObject({ code: 'upstream_incomplete' });
  });
});
