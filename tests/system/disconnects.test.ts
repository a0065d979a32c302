import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Script, Stats } from '../../simulator/server.ts';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { TEST_KEY } from '../support/gateway.ts';
import type { RawSocket } from '../support/raw-socket.ts';

let server: Deployment;
beforeAll(async () => {
  server = await startDeployment();
});
afterAll(() => server.close());
afterEach(() => server.simulator.setDefault({}));

let ids = 0;

/** The bytes of a chat request, under a new id. */
function chat(stream: boolean): { readonly id: string; readonly bytes: string } {
  const id = `leaver-${++ids}`;
  const body = JSON.stringify({
    model: 'llama3.1:8b',
    messages: [{ role: 'user', content: 'A prompt of about ten tokens, or so.' }],
    stream,
  });
  const bytes =
    `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${TEST_KEY}\r\n` +
    `Content-Type: application/json\r\nX-Client-Request-Id: ${id}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  return { id, bytes };
}

const isIdle = ({ inFlight, queued, loading }: Stats) => inFlight + queued + loading === 0;

interface Window {
  readonly script: Script;
  readonly stream: boolean;
  /** Resolves when the request is where the client shall leave. */
  readonly reached: (socket: RawSocket) => Promise<unknown>;
  /** Whether the model had begun to answer. */
  readonly produced: boolean;
}

const loading: Script = { loadMs: 60_000 };
const endless: Script = { tokens: 20, paceMs: 2, neverEnding: true };
const readsPrompt: Script = { promptMs: 60_000 };

const WINDOWS: readonly (readonly [string, Window])[] = [
  [
    'while the model loads',
    {
      script: loading,
      stream: true,
      reached: () => server.simulator.until((stats) => stats.loading === 1),
      produced: false,
    },
  ],
  [
    'while the model loads, without streaming',
    {
      script: loading,
      stream: false,
      reached: () => server.simulator.until((stats) => stats.loading === 1),
      produced: false,
    },
  ],
  [
    'while the prompt is read and the status is held back',
    {
      script: readsPrompt,
      stream: true,
      reached: () => server.simulator.until((stats) => stats.inFlight === 1),
      produced: false,
    },
  ],
  [
    'while the model server says nothing at all',
    {
      script: { hangBeforeHeaders: true },
      stream: true,
      reached: () => server.simulator.until((stats) => stats.inFlight === 1),
      produced: false,
    },
  ],
  [
    'in the middle of the stream',
    {
      script: endless,
      stream: true,
      reached: (socket) => socket.until(/(?:"content":"[^"]+"[\s\S]*){5}/),
      produced: true,
    },
  ],
  [
    'in the middle of a stream that has fallen silent',
    {
      script: { tokens: 20, hangAfter: 5 },
      stream: true,
      reached: (socket) => socket.until(/(?:"content":"[^"]+"[\s\S]*){3}/),
      produced: true,
    },
  ],
  [
    'in the middle of an answer that is not streamed',
    {
      script: endless,
      stream: false,
      reached: () => server.simulator.until((stats) => stats.inFlight === 1),
      produced: true,
    },
  ],
];

describe('a client that leaves frees the slot and is in the ledger as cancelled', () => {
  test.each(WINDOWS)('%s', async (_name, { script, stream, reached, produced }) => {
    server.simulator.unloadAll();
    await server.simulator.until(isIdle);
    const { aborted } = server.simulator.stats();
    server.simulator.script(script);
    const socket = await server.connect();
    const { id, bytes } = chat(stream);
    socket.send(bytes);
    await reached(socket);
    socket.destroy();
    await server.simulator.until((stats) => isIdle(stats) && stats.aborted === aborted + 1);

    const row = await server.row(id);
    expect(row).toMatchObject({ status: 'cancelled', error_code: 'client_closed', streamed: stream });
    expect(row.finish_reason).toBeNull();
    if (produced && stream) {
      expect(Number(row.completion_tokens)).toBeGreaterThanOrEqual(3);
      expect(Number(row.prompt_tokens)).toBeGreaterThan(5);
      expect(row.estimated).toBe(true);
    } else if (!produced) {
      expect([row.prompt_tokens, row.completion_tokens]).toEqual([null, null]);
    }
  });

  test('while another request has the slot, which goes on undisturbed', async () => {
    const { aborted } = server.simulator.stats();
    server.simulator.script(endless);
    const first = await server.connect();
    const running = chat(true);
    first.send(running.bytes);
    await first.until(/"content":"[^"]+"/);

    const second = await server.connect();
    const waiting = chat(true);
    second.send(waiting.bytes);
    await server.simulator.until((stats) => stats.queued === 1);
    second.destroy();
    await server.simulator.until((stats) => stats.queued === 0);
    expect(server.simulator.stats()).toMatchObject({ inFlight: 1, aborted: aborted + 1 });
    expect(await server.row(waiting.id)).toMatchObject({ status: 'cancelled', completion_tokens: null });

    const soFar = first.received().length;
    while (first.received().length <= soFar) await new Promise((resolve) => setImmediate(resolve));
    first.destroy();
    await server.simulator.until(isIdle);
    expect(await server.row(running.id)).toMatchObject({ status: 'cancelled' });
  });

  test('with several choices under way, each of which ends', async () => {
    const { aborted } = server.simulator.stats();
    server.simulator.setDefault(endless);
    const socket = await server.connect();
    const { id, bytes } = chat(true);
    const [head = '', body = ''] = bytes.split('\r\n\r\n');
    const several = body.replace('{', '{"n":3,');
    socket.send(`${head.replace(/Length: \d+/, `Length: ${several.length}`)}\r\n\r\n${several}`);
    await server.simulator.until((stats) => stats.inFlight === 1 && stats.queued === 2);
    socket.destroy();
    await server.simulator.until((stats) => isIdle(stats) && stats.aborted === aborted + 3);
    expect(await server.row(id)).toMatchObject({ status: 'cancelled' });
  });

  test('before its body is whole: no model is asked, and the ledger has nothing', async () => {
    const rows = await server.rows();
    const { requests } = server.simulator.stats();
    const { bytes } = chat(true);
    const socket = await server.connect();
    socket.send(bytes.slice(0, -10));
    socket.destroy();
    expect(await server.rows()).toBe(rows);
    expect(server.simulator.stats().requests).toBe(requests);
  });
});

describe('however it leaves', () => {
  test.each(['end', 'reset'] as const)('%s', async (how) => {
    server.simulator.script(endless);
    const { aborted } = server.simulator.stats();
    const socket = await server.connect();
    const { id, bytes } = chat(true);
    socket.send(bytes);
    await socket.until(/"content":"[^"]+"/);
    socket[how]();
    await server.simulator.until((stats) => isIdle(stats) && stats.aborted === aborted + 1);
    expect(await server.row(id)).toMatchObject({ status: 'cancelled' });
  });

  test('as many as may leave at once leave nothing behind', async () => {
    server.simulator.setDefault(endless);
    const { aborted, requests } = server.simulator.stats();
    // As many as the key may have under way.
    const sockets = await Promise.all(Array.from({ length: 50 }, () => server.connect()));
    for (const socket of sockets) socket.send(chat(true).bytes);
    await server.simulator.until((stats) => stats.requests === requests + 50);
    for (const [index, socket] of sockets.entries()) socket[index % 2 ? 'reset' : 'destroy']();
    await server.simulator.until((stats) => isIdle(stats) && stats.aborted === aborted + 50);
    server.simulator.setDefault({});
    const body = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'x' }] };
    const answer = await server.post('/v1/chat/completions', body);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('x-ratelimit-remaining-concurrent')).toBe('49');
    await answer.text();
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/llm_gateway_in_flight\{protocol="rest",operation="chat"\} 0\n/);
  });
});
