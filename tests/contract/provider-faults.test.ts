import { createServer, type Server, type ServerResponse } from 'node:http';
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Socket,
  type Server as TcpServer,
} from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Script, type Simulator, startSimulator } from '../../simulator/server.ts';
import type { ChatProvider } from '../../src/core/ports.ts';
import type { ErrorCode } from '../../src/domain/error.ts';
import { assertGrammar, type ChatEvent } from '../../src/domain/event.ts';
import { drain, never, startFleet } from '../support/provider.ts';
import { chatRequest } from '../unit/ollama/requests.ts';

let simulator: Simulator;
let fleet: ChatProvider;
/** Connections that the tests before these, in this process, have left to die of themselves. */
const others = openSockets();

beforeEach(async () => {
  simulator = await startSimulator();
  fleet = await startFleet([simulator.url]);
});

afterEach(async () => {
  await fleet.close();
  await simulator.close();
  // Closed connections leave the event loop within a few turns; one that does not is a leak.
  for (let turn = 0; turn < 1000 && openSockets() > others; turn++) await nextTurn();
  expect(openSockets()).toBeLessThanOrEqual(others);
});

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function ask(signal = never()) {
  return fleet.chat('ollama-1', chatRequest(), signal);
}

function texts(events: readonly ChatEvent[]): number {
  return events.filter((event) => event.type === 'content').length;
}

async function expectSlotFree(): Promise<void> {
  await simulator.until((stats) => stats.inFlight + stats.queued + stats.loading === 0);
  expect(fleet.backends()[0]?.inFlight).toBe(0);
  const { error } = await drain(ask());
  expect(error).toBeUndefined();
}

describe('a fault of the backend is one error, of the right kind, and frees the slot', () => {
  const table: [string, Script, ErrorCode, number][] = [
    ['an error before the first line', { errorStatus: 500, errorText: 'unheard of' }, 'upstream_failed', 0],
    [
      'an error inside an error',
      { errorStatus: 400, errorText: 'odd', nestedJsonError: true },
      'invalid_request',
      0,
    ],
    ['an error in place of the first line', { errorAfter: 0, errorText: 'boom' }, 'upstream_failed', 0],
    ['an error after two lines', { errorAfter: 2, errorText: 'boom' }, 'upstream_failed', 2],
    ['an end without a last line', { eofAfter: 2 }, 'upstream_incomplete', 2],
    ['an end without any line', { eofAfter: 0 }, 'upstream_incomplete', 0],
    ['a reset on arrival', { resetAt: 'accept' }, 'upstream_unavailable', 0],
    ['a reset before the headers', { resetAt: 'headers' }, 'upstream_unavailable', 0],
    ['a reset after the headers', { resetAt: 'body' }, 'upstream_incomplete', 0],
    ['a line of 50 MB', { hugeLineBytes: 50 * 2 ** 20 }, 'upstream_incomplete', 0],
    ['garbage', { garbage: true }, 'upstream_incomplete', 0],
    ['content that is a number', { wrongTypes: 'content' }, 'upstream_incomplete', 0],
    ['a redirect', { redirectTo: 'http://127.0.0.1:1/' }, 'upstream_failed', 0],
    ['a compressed bomb', { gzipBomb: 2 ** 26 }, 'upstream_failed', 0],
    [
      'a page of HTML',
      { rawBody: '<html>', rawHeaders: { 'content-type': 'text/html' } },
      'upstream_failed',
      0,
    ],
    ['a 401', { rawStatus: 401, rawBody: '{"error":"unauthorized"}' }, 'upstream_failed', 0],
    ['a 404 in plain text', { rawStatus: 404, rawBody: '404 page not found' }, 'upstream_failed', 0],
    [
      'a queue that is full',
      { errorStatus: 503, errorText: 'server busy, please try again.' },
      'upstream_busy',
      0,
    ],
    ['a 429 of the cloud behind it', { rawStatus: 429, rawBody: '{"error":"too many"}' }, 'upstream_busy', 0],
    ['a load instead of an answer', { doneReason: 'load' }, 'upstream_failed', 0],
  ];

  test.each(table)('%s', async (_what, script, code, lines) => {
    simulator.script(script);
    const { events, error } = await drain(ask());
    expect(error).toMatchObject({ code });
    if (lines > 0) expect(texts(events)).toBe(lines);
    expect(events.some((event) => event.type === 'finished')).toBe(false);
    await expectSlotFree();
  });

  test('a reset in the middle keeps at most what came before it', async () => {
    simulator.script({ resetAt: 2 });
    const { events, error } = await drain(ask());
    expect(['upstream_incomplete', 'upstream_unavailable']).toContain(error?.code);
    expect(texts(events)).toBeLessThanOrEqual(2);
    await expectSlotFree();
  });

  test.each<[string, Script]>([
    ['counts that are missing', { omitCounts: true }],
    [
      'counts that are no counts',
      { counts: { prompt_eval_count: -1, eval_count: 1e300, eval_duration: 'x' } },
    ],
    ['a last line that says only that it is the last', { emptyFinal: true }],
    ['garbage after the last line', { trailingGarbage: true }],
    ['a message that is null', { wrongTypes: 'message' }],
    ['all text on the last line', { contentOnFinalLine: true }],
    ['one byte at a time', { tokens: 5, splitBytes: 1 }],
  ])('%s is no fault', async (_what, script) => {
    simulator.script(script);
    const { events, error } = await drain(ask());
    expect(error).toBeUndefined();
    assertGrammar(events);
    await expectSlotFree();
  });

  test('counts that are missing or impossible stay unknown', async () => {
    simulator.script({ counts: { prompt_eval_count: -1, eval_count: 1e300 } });
    const { events } = await drain(ask());
    expect(events.at(-1)).toMatchObject({ usage: {} });
  });

  test('an outage in the middle of an answer breaks it off', async () => {
    simulator.script({ hangAfter: 2 });
    const stream = ask()[Symbol.asyncIterator]();
    await stream.next();
    const rest = drain({ [Symbol.asyncIterator]: () => stream });
    await simulator.stop();
    expect((await rest).error?.code).toBe('upstream_incomplete');
    await simulator.restart();
  });
});

describe('leaving frees the slot at once', () => {
  const left = new Error('the caller left');

  test('before the request is sent: nothing is', async () => {
    await expect(drain(ask(AbortSignal.abort(left)))).rejects.toBe(left);
    expect(simulator.stats().requests).toBe(0);
    await expectSlotFree();
  });

  test('before the headers', async () => {
    simulator.script({ hangBeforeHeaders: true });
    const abort = new AbortController();
    const outcome = drain(ask(abort.signal));
    await simulator.until((stats) => stats.inFlight === 1);
    abort.abort(left);
    await expect(outcome).rejects.toBe(left);
    await expectSlotFree();
    expect(simulator.stats().aborted).toBe(1);
  });

  test('before the headers, by nothing but the return: as soon as they come', async () => {
    simulator.script({ promptMs: 50, tokens: 100_000, paceMs: 5 });
    const stream = ask()[Symbol.asyncIterator]();
    const first = stream.next().catch(() => undefined);
    await simulator.until((stats) => stats.inFlight === 1);
    await stream.return?.();
    await first;
    await expectSlotFree();
  });

  test('while the model loads', async () => {
    simulator.script({ loadMs: 3_600_000 });
    const abort = new AbortController();
    const outcome = drain(ask(abort.signal));
    await simulator.until((stats) => stats.loading === 1);
    abort.abort(left);
    await expect(outcome).rejects.toBe(left);
    await expectSlotFree();
  });

  test('while another request has the slot', async () => {
    simulator.script({ hangBeforeHeaders: true });
    const first = new AbortController();
    const second = new AbortController();
    const outcomes = [drain(ask(first.signal))];
    await simulator.until((stats) => stats.inFlight === 1);
    outcomes.push(drain(ask(second.signal)));
    await simulator.until((stats) => stats.queued === 1);
    expect(fleet.backends()[0]?.inFlight).toBe(2);
    second.abort(left);
    await expect(outcomes[1]).rejects.toBe(left);
    await simulator.until((stats) => stats.queued === 0 && stats.inFlight === 1);
    first.abort(left);
    await expect(outcomes[0]).rejects.toBe(left);
    await expectSlotFree();
  });

  test('in the middle of the answer, by the signal', async () => {
    simulator.script({ hangAfter: 2 });
    const abort = new AbortController();
    const stream = ask(abort.signal)[Symbol.asyncIterator]();
    await stream.next();
    const next = drain({ [Symbol.asyncIterator]: () => stream });
    abort.abort(left);
    await expect(next).rejects.toBe(left);
    await expectSlotFree();
    expect(simulator.stats().aborted).toBe(1);
  });

  test('in the middle of an endless answer, by not reading on', async () => {
    simulator.script({ neverEnding: true });
    for await (const _batch of ask()) break;
    await expectSlotFree();
    expect(simulator.stats().aborted).toBe(1);
  });

  test('after the last line', async () => {
    const abort = new AbortController();
    for await (const batch of ask(abort.signal)) {
      if (batch.some((event) => event.type === 'finished')) break;
    }
    abort.abort(left);
    await expectSlotFree();
    expect(simulator.stats().aborted).toBe(0);
  });

  test('an embedding too', async () => {
    simulator.script({ hangBeforeHeaders: true });
    const abort = new AbortController();
    const request = { kind: 'embedding', model: 'nomic-embed-text:latest', inputs: ['a'] } as const;
    const outcome = drain(fleet.embed('ollama-1', request, abort.signal));
    await simulator.until((stats) => stats.inFlight === 1);
    abort.abort(left);
    await expect(outcome).rejects.toBe(left);
    await expectSlotFree();
  });
});

describe('connections', () => {
  const line = (done: boolean) => `${JSON.stringify({ message: { content: 'x' }, done })}\n`;
  const sockets = new Set<Socket>();

  async function serve(answer: (response: ServerResponse) => void): Promise<Server> {
    sockets.clear();
    const server = createServer((request, response) => {
      if (request.url === '/api/version') response.end('{"version":"1"}');
      if (request.url !== '/api/chat') return void response.destroy();
      sockets.add(request.socket);
      request.resume();
      response.setHeader('content-type', 'application/x-ndjson');
      answer(response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  async function withFleet(
    server: Server | TcpServer,
    use: (other: ChatProvider) => Promise<void>,
  ): Promise<void> {
    const other = await startFleet([`http://127.0.0.1:${(server.address() as AddressInfo).port}`]);
    try {
      await use(other);
    } finally {
      await other.close();
      if ('closeAllConnections' in server) server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  test('are used again after an answer that ended, even where its end came late and nobody waited', async () => {
    const answering: ServerResponse[] = [];
    const server = await serve((response) => {
      answering.push(response);
      response.write(line(true));
    });
    await withFleet(server, async (other) => {
      for (let round = 0; round < 3; round++) {
        for await (const batch of other.chat('ollama-1', chatRequest(), never())) {
          if (batch.some((event) => event.type === 'finished')) break;
        }
        // Time enough for a connection that is given up to be seen as closed, and for the end to arrive.
        for (let turn = 0; turn < 100; turn++) await nextTurn();
        expect(answering[round]?.destroyed).toBe(false);
        answering[round]?.end();
        for (let turn = 0; turn < 100; turn++) await nextTurn();
      }
      expect(sockets.size).toBe(1);
    });
  });

  test('that never end after the last line are given up', async () => {
    const closed = Promise.withResolvers<void>();
    const server = await serve((response) => {
      response.once('close', () => closed.resolve());
      response.write(line(true));
    });
    await withFleet(server, async (other) => {
      expect((await drain(other.chat('ollama-1', chatRequest(), never()))).error).toBeUndefined();
      await closed.promise;
    });
  });

  test('an answer that is not HTTP is incomplete', async () => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end('SSH-2.0-OpenSSH\r\n'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    await withFleet(server, async (other) => {
      const { error } = await drain(other.chat('ollama-1', chatRequest(), never()));
      expect(error?.code).toBe('upstream_incomplete');
    });
  });

  test('a close of the fleet ends what is under way', async () => {
    simulator.script({ hangAfter: 1 });
    const stream = ask()[Symbol.asyncIterator]();
    await stream.next();
    const rest = drain({ [Symbol.asyncIterator]: () => stream });
    await fleet.close();
    expect((await rest).error?.code).toBe('shutting_down');
    await simulator.until((stats) => stats.inFlight === 0);
  });
});
