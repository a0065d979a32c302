import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import type { Abortable } from '../../../src/core/signal.ts';
import { GatewayError } from '../../../src/domain/error.ts';
import type { ChatEvent, ChatStream } from '../../../src/domain/event.ts';
import { chatCompletionChunk } from '../../../src/rest/openai/response-schema.ts';
import { createTestClock } from '../../support/clock.ts';
import { content, FAKE_KEY, finished, started } from '../../support/fake-gateway.ts';
import { openRawSocket } from '../../support/raw-socket.ts';
import { type RestServer, startRestServer } from '../../support/rest-server.ts';
import { parseEvents } from '../../support/sse.ts';

const CHAT = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'hello world' }] };
const STREAM = { ...CHAT, stream: true };

type Options = Parameters<typeof startRestServer>[0];

async function withServer(options: Options, act: (server: RestServer) => Promise<void>) {
  const server = await startRestServer(options);
  try {
    await act(server);
  } finally {
    await server.close();
  }
}

/** Resolves when the condition holds, looking again after each turn of the event loop; gives up before Jest does. */
async function until(holds: () => boolean): Promise<void> {
  const giveUp = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > giveUp) throw new Error(`never came true: ${holds}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A promise that rejects when the signal aborts: a backend that says nothing more. */
const silence = (signal: Abortable) =>
  new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

const post = (body: object) => {
  const json = JSON.stringify(body);
  return (
    `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${FAKE_KEY}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`
  );
};

describe('a stream', () => {
  test('is events that end in exactly one [DONE], with headers that keep proxies from holding it', () =>
    withServer({}, async (server) => {
      const response = await server.post('/v1/chat/completions', STREAM);
      expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      expect(response.headers.get('x-accel-buffering')).toBe('no');
      expect(response.headers.get('cache-control')).toBe('no-cache');
      expect(response.headers.get('openai-processing-ms')).toMatch(/^\d+$/);
      const text = await response.text();
      expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
      const { data, otherFields } = parseEvents(text);
      expect(otherFields).toEqual([]);
      expect(data.filter((json) => json === '[DONE]')).toHaveLength(1);
      const chunks = data.slice(0, -1).map((json) => chatCompletionChunk.parse(JSON.parse(json)));
      const said = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
      expect(said).toBe('hello world');
    }));

  test('writes one batch of events in one write', () =>
    withServer({}, async (server) => {
      server.gateway.script = async function* () {
        yield [started(), content('a'), content('b'), content('c')];
        yield [finished()];
      };
      const socket = await openRawSocket(server.port);
      socket.send(post(STREAM));
      const received = await socket.until(/\[DONE\]/);
      socket.destroy();
      // Each write is one chunk of the transfer encoding: the batch, the finish with the [DONE] after it, the end.
      expect(received.match(/\r\n[0-9a-f]+\r\ndata: /g)).toHaveLength(3);
    }));

  test('that fails before its first event keeps its true status', () =>
    withServer({}, async (server) => {
      server.gateway.script = async function* () {
        yield [{ type: 'loading', model: 'm' }];
        throw new GatewayError('upstream_unavailable', 'No backend.');
      };
      const response = await server.post('/v1/chat/completions', STREAM);
      expect(response.status).toBe(503);
      expect(response.headers.get('content-type')).toMatch(/^application\/json/);
      expect(await response.json()).toMatchObject({ error: { code: 'upstream_unavailable' } });
    }));

  test('that fails after its first event ends in an error frame and without [DONE]', () =>
    withServer({}, async (server) => {
      for (const thrown of [new GatewayError('upstream_incomplete', 'It broke off.'), new Error('canary')]) {
        server.gateway.script = async function* () {
          yield [started(), content('half')];
          throw thrown;
        };
        const response = await server.post('/v1/chat/completions', STREAM);
        expect(response.status).toBe(200);
        const { data } = parseEvents(await response.text());
        const isOurs = thrown instanceof GatewayError;
        expect(JSON.parse(data.at(-1) ?? '')).toEqual({
          error: {
            message: isOurs ? 'It broke off.' : expect.not.stringContaining('canary'),
            type: 'server_error',
            param: null,
            code: isOurs ? 'upstream_incomplete' : null,
          },
        });
        expect(data).not.toContain('[DONE]');
      }
    }));

  test('that ends without finishing is an error', () =>
    withServer({}, async (server) => {
      server.gateway.script = async function* () {
        yield [started(), content('half')];
      };
      const { data } = parseEvents(await (await server.post('/v1/chat/completions', STREAM)).text());
      expect(JSON.parse(data.at(-1) ?? '')).toMatchObject({ error: { code: 'upstream_incomplete' } });
    }));

  test('that has nothing to say yet gets its status and a ping when the wait is over, then pings in silence', async () => {
    const clock = createTestClock();
    await withServer({ clock, holdBackMs: 1, pingMs: 15_000 }, async (server) => {
      const { promise: loaded, resolve: load } = Promise.withResolvers<void>();
      server.gateway.script = async function* () {
        yield [{ type: 'loading', model: 'm' }];
        await loaded;
        yield [{ ...started(), warnings: ['No thinking.'] } as ChatEvent, content('at last')];
        yield [finished()];
      };
      const socket = await openRawSocket(server.port);
      socket.send(post(STREAM));
      expect(await socket.until(/: ping\n\n/)).toMatch(/^HTTP\/1\.1 200 /);
      await clock.advance(14_999);
      expect(socket.received().match(/: ping/g)).toHaveLength(1);
      await clock.advance(1);
      await socket.until(/(?:: ping[\s\S]*){2}/);
      await clock.advance(15_000);
      await socket.until(/(?:: ping[\s\S]*){3}/);
      load();
      const received = await socket.until(/\[DONE\]/);
      expect(received).toContain('at last');
      // Its header had to go out before there was anything to warn of.
      expect(received).not.toMatch(/^x-gateway-warnings:/im);
      expect(received).toContain('"warnings":["No thinking."]');
      socket.destroy();
      await until(() => clock.pending() === 0);
    });
  });

  test('that fails after its status was sent early says so in a frame', () =>
    withServer({ holdBackMs: 1 }, async (server) => {
      const { promise: failing, reject: fail } = Promise.withResolvers<never>();
      server.gateway.script = async function* (): ChatStream {
        yield [{ type: 'loading', model: 'm' }];
        await failing;
      };
      const response = await server.post('/v1/chat/completions', STREAM);
      expect(response.status).toBe(200);
      fail(new GatewayError('upstream_timeout', 'Too slow.'));
      const { data, comments } = parseEvents(await response.text());
      expect(comments).toEqual(['ping']);
      expect(data).toHaveLength(1);
      expect(JSON.parse(data[0] ?? '')).toMatchObject({ error: { code: 'upstream_timeout' } });
    }));
});

describe('a client that leaves', () => {
  const windows: [string, object, number, (signal: Abortable) => ChatStream][] = [
    [
      'before the first event',
      STREAM,
      60_000,
      async function* (signal) {
        yield [{ type: 'queued', position: 3 }];
        await silence(signal);
      },
    ],
    [
      'while pings are sent',
      STREAM,
      1,
      async function* (signal) {
        yield [{ type: 'loading', model: 'm' }];
        await silence(signal);
      },
    ],
    [
      'mid-stream',
      STREAM,
      60_000,
      async function* (signal) {
        yield [started(), content('one')];
        await silence(signal);
      },
    ],
    [
      'without streaming',
      CHAT,
      60_000,
      async function* (signal) {
        yield [started(), content('one')];
        await silence(signal);
      },
    ],
  ];
  test.each(windows)(
    '%s ends its request at once, with an Error as the reason',
    (_name, body, holdBackMs, script) =>
      withServer({ holdBackMs }, async (server) => {
        server.gateway.script = (_request, signal) => script(signal);
        const socket = await openRawSocket(server.port);
        socket.send(post(body));
        if (holdBackMs === 1) await socket.until(/: ping/);
        else if (body === STREAM && script.toString().includes('one')) await socket.until(/one/);
        await until(() => server.gateway.running() === 1);
        socket.destroy();
        await until(() => server.gateway.running() === 0);
        const { signal } = server.gateway.callers.at(-1) ?? {};
        expect(signal?.reason).toBeInstanceOf(GatewayError);
        expect(server.logs).toEqual([]);
      }),
  );

  test('after its answer was complete aborts nothing', () =>
    withServer({}, async (server) => {
      for (const body of [CHAT, STREAM]) await (await server.post('/v1/chat/completions', body)).text();
      await until(() => server.gateway.running() === 0);
      expect(server.gateway.callers.map((caller) => caller.signal.aborted)).toEqual([false, false]);
    }));

  test.each([CHAT, STREAM])('harms nobody where its answer comes all the same', (body) =>
    withServer({}, async (server) => {
      const { promise: answering, resolve: answer } = Promise.withResolvers<void>();
      server.gateway.script = async function* () {
        yield [{ type: 'queued', position: 0 }];
        await answering;
        yield [started(), content('too late'), finished()];
      };
      const socket = await openRawSocket(server.port);
      socket.send(post(body));
      await until(() => server.gateway.running() === 1);
      socket.destroy();
      await until(() => server.gateway.callers.at(-1)?.signal.aborted === true);
      answer();
      await until(() => server.gateway.running() === 0);
      expect((await fetch(`${server.url}/health`)).status).toBe(200);
      expect(server.logs).toEqual([]);
    }),
  );

  test('ends every prompt of a completion, and those not begun never begin', () =>
    withServer({}, async (server) => {
      server.gateway.script = async function* (_request, signal) {
        yield [started(), content('one')];
        await silence(signal);
      };
      const leaving = new AbortController();
      const body = { model: 'llama3.1:8b', prompt: ['a', 'b'], stream: true };
      const response = await server.post('/v1/completions', body, { signal: leaving.signal });
      expect(response.status).toBe(200);
      leaving.abort();
      await response.text().catch(() => undefined);
      await until(() => server.gateway.running() === 0);
      expect(server.gateway.requests).toHaveLength(1);
    }));
});

describe('a client that does not read', () => {
  const BATCH = 64 * 1024;

  test('is waited for in bounded memory, and cut when it stalls', async () => {
    const clock = createTestClock();
    await withServer({ clock, stallMs: 30_000 }, async (server) => {
      let produced = 0;
      server.gateway.script = async function* () {
        yield [started()];
        for (; produced < 4000; produced++) yield [content('x'.repeat(BATCH))];
        yield [finished()];
      };
      const socket = connect(server.port, '127.0.0.1');
      await once(socket, 'connect');
      socket.pause();
      socket.on('error', () => undefined);
      socket.write(post(STREAM));
      await until(() => server.gateway.running() === 1);
      // Two timers: the ping's, and the cut's while a write waits. Where the write got through, the next will not.
      while (server.gateway.running() === 1) {
        await until(() => clock.pending() === 2 || server.gateway.running() === 0);
        await clock.advance(30_000);
      }
      // Far below the 250 MB that were on offer: what the kernel buffers for a socket, and one batch.
      expect(produced * BATCH).toBeLessThan(32 * 1024 * 1024);
      expect(clock.pending()).toBe(0);
      socket.destroy();
    });
  });

  test('in time gets everything', () =>
    withServer({}, async (server) => {
      server.gateway.script = async function* () {
        yield [started()];
        for (let i = 0; i < 200; i++) yield [content('x'.repeat(BATCH))];
        yield [finished()];
      };
      const response = await server.post('/v1/chat/completions', STREAM);
      const reader = response.body?.getReader();
      let bytes = 0;
      for (;;) {
        const result = await reader?.read();
        if (!result || result.done) break;
        bytes += result.value.length;
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(bytes).toBeGreaterThan(200 * BATCH);
    }));
});

describe('completions', () => {
  test('answer several prompts one after the other, never two at once', () =>
    withServer({}, async (server) => {
      let most = 0;
      server.gateway.script = async function* (request) {
        most = Math.max(most, server.gateway.running());
        const [message] = request.messages;
        yield [started(), content(`re: ${message?.role}`)];
        yield [finished()];
      };
      const body = { model: 'llama3.1:8b', prompt: ['a', 'b', 'c'], echo: true };
      const whole = await (await server.post('/v1/completions', body)).json();
      expect(whole).toMatchObject({
        object: 'text_completion',
        choices: [
          { text: 'are: user', index: 0 },
          { text: 'bre: user', index: 1 },
          { text: 'cre: user', index: 2 },
        ],
        usage: { total_tokens: 24 },
      });
      const streamed = await (await server.post('/v1/completions', { ...body, stream: true })).text();
      expect(parseEvents(streamed).data.at(-1)).toBe('[DONE]');
      expect(most).toBe(1);
      expect(server.gateway.requests).toHaveLength(6);
    }));

  test.each([false, true])(
    'more prompts than the key may send in a minute are refused before any is answered (stream: %s)',
    (stream) =>
      withServer({}, async (server) => {
        server.gateway.principal = { ...server.gateway.principal, limits: { requestsPerMinute: 2 } };
        const body = { model: 'llama3.1:8b', prompt: ['a', 'b', 'c'], stream };
        const refused = await server.post('/v1/completions', body);
        expect(refused.status).toBe(429);
        expect(refused.headers.get('x-should-retry')).toBe('false');
        expect(await refused.json()).toMatchObject({
          error: { type: 'requests', code: 'rate_limit_exceeded', param: 'prompt' },
        });
        expect(server.gateway.requests).toEqual([]);
        const fitting = await server.post('/v1/completions', { ...body, prompt: ['a', 'b'] });
        expect(fitting.status).toBe(200);
        await fitting.text();
      }),
  );

  test('to several prompts that are given as a whole end at 16 MiB of all of them, with the prompt that is too much', () =>
    withServer({}, async (server) => {
      server.gateway.script = async function* () {
        yield [started(), content('x'.repeat(6 * 1024 * 1024))];
        yield [finished()];
      };
      const body = { model: 'llama3.1:8b', prompt: ['a', 'b', 'c', 'd'] };
      const answer = await server.post('/v1/completions', body);
      expect(answer.status).toBe(502);
      expect(answer.headers.get('x-should-retry')).toBe('false');
      expect(await answer.json()).toMatchObject({ error: { code: 'upstream_incomplete' } });
      expect(server.gateway.callers).toHaveLength(3);
      // What the core records it as.
      expect(server.gateway.callers[2]?.signal.reason).toMatchObject({ code: 'upstream_incomplete' });
      expect(server.gateway.running()).toBe(0);
    }));

  test('name the prompt where it is at fault, also within a stream that has begun', () =>
    withServer({}, async (server) => {
      const tooLong = new GatewayError('context_length_exceeded', 'Too long.');
      server.gateway.script = async function* ({ messages }) {
        if (JSON.stringify(messages).includes('long')) throw tooLong;
        yield [started(), content('fine'), finished()];
      };
      for (const stream of [false, true]) {
        const body = { model: 'llama3.1:8b', prompt: 'long', stream };
        const answer = await server.post('/v1/completions', body);
        expect(answer.status).toBe(400);
        expect(await answer.json()).toMatchObject({ error: { param: 'prompt' } });
      }
      const body = { model: 'llama3.1:8b', prompt: ['a', 'long'], stream: true };
      const frames = parseEvents(await (await server.post('/v1/completions', body)).text()).data;
      expect(JSON.parse(frames.at(-1) ?? '')).toMatchObject({ error: { param: 'prompt' } });
    }));
});
