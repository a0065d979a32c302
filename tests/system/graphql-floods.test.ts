import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { graphqlBytes } from '../support/graphql-bytes.ts';
import { type GraphQLProcess, startGraphQLProcess } from '../support/graphql-process.ts';
import { BEARER } from '../support/graphql-server.ts';
import { COSTLY_DOCUMENT, HOSTILE_BODIES, HOSTILE_DOCUMENTS } from '../support/hostile-documents.ts';
import { openRawSocket } from '../support/raw-socket.ts';
import { openWsClient, type WsClient } from '../support/ws-client.ts';

let server: GraphQLProcess;
const sockets: WsClient[] = [];
const closing: (() => void)[] = [];
beforeEach(async () => {
  server = await startGraphQLProcess();
});
afterEach(async () => {
  for (const { socket } of sockets.splice(0)) socket.terminate();
  for (const close of closing.splice(0)) close();
  await server.close();
});

async function send(body: unknown): Promise<number> {
  const response = await server.post(body);
  await response.arrayBuffer();
  return response.status;
}

const ask = (query: string) => send({ query });

/** CPU time that the server takes for one such request, in milliseconds. */
async function costOf(body: unknown): Promise<number> {
  const count = 10;
  await server.figures();
  for (let index = 0; index < count; index++) await send(body);
  return (await server.figures()).cpuMs / count;
}

/** The costs of such requests, when the server has seen each of them once. */
async function costsOf(bodies: readonly unknown[]): Promise<readonly number[]> {
  for (const body of bodies) await send(body);
  const costs: number[] = [];
  for (const body of bodies) costs.push(await costOf(body));
  return costs;
}

describe('floods of hostile documents', () => {
  test('cost the server less than documents that it executes, most of them much less', async () => {
    const refused = await costsOf(HOSTILE_DOCUMENTS.map(([, query]) => ({ query })));
    const [accepted = 0] = await costsOf([{ query: COSTLY_DOCUMENT }]);
    expect(Math.max(...refused)).toBeLessThan(accepted * 2);
    const mean = refused.reduce((sum, cost) => sum + cost, 0) / refused.length;
    expect(mean).toBeLessThan(accepted / 2);
  });

  test('and of hostile bodies about as much as a large one that it accepts', async () => {
    const query = 'mutation($i: Nested!) { take(input: $i) }';
    const refused = await costsOf(HOSTILE_BODIES.map(([, body]) => body));
    const [accepted = 0] = await costsOf([{ query, variables: { i: { text: 'x'.repeat(1_000_000) } } }]);
    expect(Math.max(...refused)).toBeLessThan(accepted * 3);
  });

  test('leave other requests their share of the server', async () => {
    const attackers = 8;
    const rounds = 4;
    let attacking = attackers;
    const attack = async () => {
      for (let round = 0; round < rounds; round++) {
        for (const [, query] of HOSTILE_DOCUMENTS) expect(await ask(query)).toBe(400);
      }
      attacking--;
    };
    const flood = Promise.all(Array.from({ length: attackers }, attack));
    let served = 0;
    while (attacking === attackers) {
      expect(await ask('{ hello }')).toBe(200);
      served++;
    }
    await flood;
    // One caller among nine, each of whom waits for an answer before asking again.
    expect(served).toBeGreaterThan((rounds * HOSTILE_DOCUMENTS.length) / 4);
  });
});

const SOCKETS = 20;
/** What the whole flood may add to the memory of the process: of each socket's 5,000 frames next to nothing is kept. */
const GROWTH_BYTES = 96 * 1024 * 1024;

async function openSockets(): Promise<readonly WsClient[]> {
  for (let index = 0; index < SOCKETS; index++) {
    const client = await openWsClient(server.wsUrl);
    sockets.push(client);
    await client.init({ authorization: BEARER });
  }
  return sockets;
}

/** The kernel takes megabytes for each reader, and of what went there copies are left until the next collection. */
const STREAMED_BYTES = 192 * 1024 * 1024;

/** How much memory something makes the process occupy in addition, at most. */
async function growthDuring(act: () => Promise<unknown>): Promise<number> {
  const before = (await server.figures()).peakBytes;
  await act();
  return (await server.figures()).peakBytes - before;
}

describe('floods over WebSocket keep to a bounded memory', () => {
  test.each([
    ['unfinished fragments', ({ socket }: WsClient) => socket.send('x', { fin: false })],
    ['pings', ({ socket }: WsClient) => socket.ping('x'.repeat(125))],
    ['messages', (client: WsClient) => client.send({ type: 'ping', payload: { x: 'x'.repeat(500) } })],
  ])('%s: the sockets are closed, and others are served', async (_name, send) => {
    const clients = await openSockets();
    const growth = await growthDuring(async () => {
      for (const client of clients) for (let count = 0; count < 5000; count++) send(client);
      for (const { closed } of clients) expect([1006, 1008]).toContain((await closed).code);
    });
    expect(growth).toBeLessThan(GROWTH_BYTES);
    expect(await ask('{ hello }')).toBe(200);
  });
});

/** Each begins to follow the same stream, reads its beginning, and stops to read. */
const READERS: readonly (readonly [string, (query: string) => Promise<void>])[] = [
  [
    'over WebSocket',
    async (query) => {
      for (const client of await openSockets()) {
        client.subscribe('a', query);
        expect((await client.next()).type).toBe('next');
        client.socket.pause();
      }
    },
  ],
  [
    'of event streams',
    async (query) => {
      for (let index = 0; index < SOCKETS; index++) {
        const socket = await openRawSocket(Number(new URL(server.url).port));
        closing.push(socket.destroy);
        socket.send(graphqlBytes(query, 'text/event-stream'));
        await socket.until(/event: next/);
        socket.stopReading();
      }
    },
  ],
];

test.each(READERS)('what streams to readers %s that do not read comes to rest', async (_name, begin) => {
  // A long name makes long messages, which soon fill what the kernel takes for a reader.
  const query = `subscription { ${'a'.repeat(15_000)}: count(to: 1000000000) }`;
  const growth = await growthDuring(async () => {
    await begin(query);
    const areAtRest = async () => {
      await server.figures();
      await new Promise((resolve) => setTimeout(resolve, 100));
      return (await server.figures()).cpuMs < 50;
    };
    await eventually('the streams to come to rest', areAtRest, 10_000);
  });
  expect(growth).toBeLessThan(STREAMED_BYTES);
  expect(await ask('{ hello }')).toBe(200);
});
