/** A client that leaves, in whichever way and moment, gives the model's slot back. Counted where the slots are. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { Script, Stats } from '../../../simulator/server.ts';
import { type Deployment, startDeployment } from '../../support/deployment.ts';
import { TEST_KEY } from '../../support/gateway.ts';
import { readEvents } from '../../support/sse.ts';
import { until } from '../../support/until.ts';
import { openWsClient, type WsClient } from '../../support/ws-client.ts';

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

const ENDLESS: Script = { tokens: 20, paceMs: 2, neverEnding: true };

const isIdle = ({ inFlight, queued, loading }: Stats) => inFlight + queued + loading === 0;

interface Visit {
  /** Resolves when some of the answer has come; at once where it comes as a whole. */
  untilText(): Promise<void>;
  leave(): void;
}

/** Begins an operation. */
type Visitor = (query: string, variables: object) => Promise<Visit>;

/** Takes three pieces of an answer, and leaves the rest where it is. */
async function takeText(next: () => Promise<unknown>): Promise<void> {
  for (let pieces = 0; pieces < 3; ) {
    if (JSON.stringify(await next()).includes('"content":')) pieces++;
  }
}

async function begin(query: string, variables: object): Promise<WsClient> {
  const client = await openWsClient(`${server.url.replace('http', 'ws')}/graphql`);
  await client.init(AUTHORIZATION);
  client.subscribe('a', query, variables);
  return client;
}

function overSocket(leave: (client: WsClient) => void): Visitor {
  return async (query, variables) => {
    const client = await begin(query, variables);
    const untilText = async () => {
      if (query === SUBSCRIPTION) await takeText(client.next);
    };
    return { untilText, leave: () => leave(client) };
  };
}

function overHttp(accept: string): Visitor {
  return async (query, variables) => {
    const leaving = new AbortController();
    const answer = server.post(
      '/graphql',
      { query, variables },
      { headers: { accept }, signal: leaving.signal },
    );
    answer.catch(() => undefined);
    return {
      async untilText() {
        if (query !== SUBSCRIPTION) return;
        const events = readEvents(await answer);
        await takeText(() => events.next());
      },
      leave: () => leaving.abort(),
    };
  };
}

const complete = (client: WsClient) => client.send({ id: 'a', type: 'complete' });

const VISITORS: readonly (readonly [string, string, Visitor])[] = [
  ['completes the subscription', SUBSCRIPTION, overSocket(complete)],
  ['closes the socket', SUBSCRIPTION, overSocket(({ socket }) => socket.close(1000))],
  ['loses the connection', SUBSCRIPTION, overSocket(({ socket }) => socket.terminate())],
  ['completes a mutation on the socket', MUTATION, overSocket(complete)],
  ['closes the socket of a mutation', MUTATION, overSocket(({ socket }) => socket.close(1000))],
  ['loses the connection of a mutation', MUTATION, overSocket(({ socket }) => socket.terminate())],
  ['leaves the event stream', SUBSCRIPTION, overHttp('text/event-stream')],
  ['aborts the request of a mutation', MUTATION, overHttp('application/json')],
];

const isInFlight = ({ inFlight }: Stats) => inFlight === 1;

/** When, what the model server does, how that shows there, and whether some of the answer has come by then. */
const WINDOWS: readonly (readonly [string, Script, (stats: Stats) => boolean, boolean])[] = [
  ['while the model loads', { loadMs: 60_000 }, ({ loading }) => loading === 1, false],
  ['while the prompt is read', { promptMs: 60_000 }, isInFlight, false],
  ['in the middle of the answer', ENDLESS, isInFlight, true],
  ['in an answer that has fallen silent', { tokens: 20, hangAfter: 5 }, isInFlight, true],
];

const CASES = VISITORS.flatMap(([how, query, visit]) =>
  WINDOWS.map(([when, ...window]) => [how, when, query, visit, window] as const),
);

test.each(CASES)('who %s %s frees the slot', async (_how, _when, query, visit, window) => {
  const [script, reached, hasText] = window;
  server.simulator.unloadAll();
  server.simulator.setDefault(script);
  const before = server.simulator.stats().aborted;
  const { leave, untilText } = await visit(query, VARIABLES);
  await server.simulator.until(reached);
  if (hasText) await untilText();
  leave();
  await server.simulator.until((stats) => isIdle(stats) && stats.aborted === before + 1);
  expect(server.gateway.logs().filter(({ level }) => level === 'error')).toEqual([]);
});

test.each(VISITORS)(
  'who %s while another has the slot leaves the queue, and the other goes on',
  async (_how, query, visit) => {
    server.simulator.setDefault(ENDLESS);
    const { aborted } = server.simulator.stats();
    const other = await begin(SUBSCRIPTION, VARIABLES);
    await server.simulator.until(isInFlight);
    const { leave } = await visit(query, VARIABLES);
    await server.simulator.until(({ queued }) => queued === 1);
    leave();
    await server.simulator.until((stats) => stats.queued === 0 && stats.aborted === aborted + 1);
    expect(server.simulator.stats().inFlight).toBe(1);
    const soFar = other.heard().length;
    await until(() => other.heard().length > soFar);
    other.socket.terminate();
    await server.simulator.until((stats) => isIdle(stats) && stats.aborted === aborted + 2);
  },
);

test.each(VISITORS)('who %s with several choices under way ends each of them', async (_how, query, visit) => {
  server.simulator.setDefault(ENDLESS);
  const { aborted } = server.simulator.stats();
  const { leave } = await visit(query, { i: { ...VARIABLES.i, n: 3 } });
  await server.simulator.until(({ inFlight, queued }) => inFlight === 1 && queued === 2);
  leave();
  await server.simulator.until((stats) => isIdle(stats) && stats.aborted === aborted + 3);
});
