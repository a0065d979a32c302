import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { INSPECTABLE, type Inspector, inspect } from '../support/inspector.ts';
import { openWsClient } from '../support/ws-client.ts';

const SOCKETS = 50;
const PER_SOCKET = 20;
const ROUNDS = 10;

let server: Deployment;
let inspector: Inspector;
let authorization: string;
beforeAll(async () => {
  const script = { tokens: 5, hangAfter: 1 };
  server = await startDeployment({
    env: INSPECTABLE,
    simulator: { parallel: 1000, script },
  });
  inspector = await inspect(server.gateway);
  authorization = `Bearer ${(await server.createKey()).secret}`;
}, 60_000);
afterAll(async () => {
  await inspector.close();
  await server.close();
});

const QUERY = /* GraphQL */ `
  subscription Stream($input: ChatCompletionInput!) {
    chatCompletion(input: $input) { __typename }
  }
`;
const VARIABLES = {
  input: { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text: 'Say hello.' }] }] },
};

/** Opens a socket with many answers on it, waits for a token of each, and leaves in one of three ways. */
async function comeAndGo(way: 'complete' | 'close' | 'terminate'): Promise<void> {
  const client = await openWsClient(`${server.url.replace('http', 'ws')}/graphql`);
  await client.init({ authorization });
  for (let id = 0; id < PER_SOCKET; id++) client.subscribe(String(id), QUERY, VARIABLES);
  for (let begun = 0; begun < PER_SOCKET; ) {
    const { type, payload } = await client.next();
    if (type !== 'next') throw new Error(`${type} in the place of an event`);
    if (JSON.stringify(payload?.data).includes('ChatContentDelta')) begun++;
  }
  if (way === 'complete') {
    for (let id = 0; id < PER_SOCKET; id++) client.send({ id: String(id), type: 'complete' });
  }
  if (way === 'terminate') client.socket.terminate();
  else client.socket.close();
  await client.closed;
}

async function round(): Promise<void> {
  const ways = ['complete', 'close', 'terminate'] as const;
  await Promise.all(Array.from({ length: SOCKETS }, (_, index) => comeAndGo(ways[index % 3] ?? 'close')));
  await server.simulator.until(({ inFlight, queued }) => inFlight + queued === 0);
}

test('10,000 subscriptions that come and go leave nothing behind', async () => {
  const live: number[] = [];
  const resources: number[] = [];
  for (let count = 0; count < ROUNDS; count++) {
    await round();
    // The ledger has been written by then, so that what waits for it is no part of the count.
    await server.rows();
    live.push(await inspector.liveBytes());
    resources.push(await inspector.activeResources());
  }
  expect(server.simulator.stats().aborted).toBe(SOCKETS * PER_SOCKET * ROUNDS);
  // The first two rounds load and compile what is needed; from then on a few hundred bytes kept of each would be seen.
  const [, settled = 0] = live;
  // The least of the last three, as on a busy machine something of a round may still be on its way out.
  expect(Math.min(...live.slice(-3))).toBeLessThan(settled + 256 * SOCKETS * PER_SOCKET * (ROUNDS - 2));
  // Fewer than one round's sockets: those to the model server and the database, which are kept for the next request.
  expect(resources.at(-1)).toBeLessThan(SOCKETS);
}, 120_000);
