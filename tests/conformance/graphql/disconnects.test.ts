/** A client that leaves, in whichever way and moment, gives the model's slot back. Counted where the slots are. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { Script, Stats } from '../../../simulator/server.ts';
import { type Deployment, startDeployment } from '../../support/deployment.ts';
import { TEST_KEY } from '../../support/gateway.ts';
import { openWsClient } from '../../support/ws-client.ts';

let server: Deployment;
beforeAll(async () => {
  server = await startDeployment();
});
afterAll(() => server.close());
afterEach(() => server.simulator.setDefault({}));

const AUTHORIZATION = { authorization: `Bearer ${TEST_KEY}` };
const SUBSCRIPTION =
  'subscription($i: ChatCompletionInput!) { chatCompletion(input: $i) { __typename ... on ChatContentDelta { content } } }';
const MUTATION = 'mutation($i: ChatCompletionInput!) { createChatCompletion(input: $i) { __typename } }';
const VARIABLES = {
  i: { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text: 'Tell me a story.' }] }] },
};

const isIdle = ({ inFlight, queued, loading }: Stats) => inFlight + queued + loading === 0;

/** Begins an operation. @returns the function that leaves it. */
type Visitor = (query: string) => Promise<() => void>;

async function overSocket(query: string) {
  const client = await openWsClient(`${server.url.replace('http', 'ws')}/graphql`);
  await client.init(AUTHORIZATION);
  client.subscribe('a', query, VARIABLES);
  return client;
}

function overHttp(accept: string): Visitor {
  return async (query) => {
    const leaving = new AbortController();
    const init = {
      method: 'POST',
      headers: { ...AUTHORIZATION, accept, 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables: VARIABLES }),
      signal: leaving.signal,
    };
    void fetch(`${server.url}/graphql`, init).then(
      (response) => response.text().catch(() => undefined),
      () => undefined,
    );
    return () => leaving.abort();
  };
}

const VISITORS: readonly (readonly [string, string, Visitor])[] = [
  [
    'completes the subscription',
    SUBSCRIPTION,
    async (query) => {
      const client = await overSocket(query);
      return () => client.send({ id: 'a', type: 'complete' });
    },
  ],
  [
    'closes the socket',
    SUBSCRIPTION,
    async (query) => {
      const client = await overSocket(query);
      return () => client.socket.close(1000);
    },
  ],
  [
    'loses the connection',
    SUBSCRIPTION,
    async (query) => {
      const client = await overSocket(query);
      return () => client.socket.terminate();
    },
  ],
  [
    'completes a mutation on the socket',
    MUTATION,
    async (query) => {
      const client = await overSocket(query);
      return () => client.send({ id: 'a', type: 'complete' });
    },
  ],
  ['leaves the event stream', SUBSCRIPTION, overHttp('text/event-stream')],
  ['aborts the request of a mutation', MUTATION, overHttp('application/json')],
];

const WINDOWS: readonly (readonly [string, Script, (stats: Stats) => boolean])[] = [
  ['while the model loads', { loadMs: 60_000 }, (stats) => stats.loading === 1],
  ['while the prompt is read', { promptMs: 60_000 }, (stats) => stats.inFlight === 1],
  [
    'in the middle of the answer',
    { tokens: 20, paceMs: 2, neverEnding: true },
    (stats) => stats.inFlight === 1,
  ],
  ['in an answer that has fallen silent', { tokens: 20, hangAfter: 5 }, (stats) => stats.inFlight === 1],
];

const CASES = VISITORS.flatMap(([how, query, visit]) =>
  WINDOWS.map(([when, script, reached]) => [how, when, { query, visit, script, reached }] as const),
);

test.each(CASES)('who %s %s frees the slot', async (_how, _when, { query, visit, script, reached }) => {
  server.simulator.unloadAll();
  server.simulator.setDefault(script);
  const before = server.simulator.stats().aborted;
  const leave = await visit(query);
  await server.simulator.until(reached);
  leave();
  await server.simulator.until((stats) => isIdle(stats) && stats.aborted === before + 1);
  expect(server.gateway.logs().filter(({ level }) => level === 'error')).toEqual([]);
});
