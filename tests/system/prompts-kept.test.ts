import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { INSPECTABLE, type Inspector, inspect } from '../support/inspector.ts';
import { openWsClient } from '../support/ws-client.ts';

const PROMPT_BYTES = 400_000;
const REQUESTS = 20;
const MODEL = 'llama3.1:8b';
const PROMPT = 'Say hello. '.repeat(PROMPT_BYTES / 11);

let server: Deployment;
let inspector: Inspector;
let authorization: string;
beforeAll(async () => {
  server = await startDeployment({
    env: { ...INSPECTABLE, OLLAMA_NUM_CTX: '*=131072' },
    simulator: { parallel: 1000, script: { tokens: 5, hangAfter: 1 } },
  });
  inspector = await inspect(server.gateway);
  authorization = `Bearer ${(await server.createKey()).secret}`;
}, 60_000);
afterAll(async () => {
  await inspector.close();
  await server.close();
});

/** Begins a request whose answer will not end. @returns what leaves it. */
type Begin = () => Promise<() => void>;

const post =
  (path: string, body: object): Begin =>
  async () => {
    const leaving = new AbortController();
    const headers = { authorization, 'content-type': 'application/json', accept: 'text/event-stream' };
    const request = { method: 'POST', headers, body: JSON.stringify(body), signal: leaving.signal };
    const ask = async () => {
      // Again where it ends before it is left: on a busy machine a request may be refused, which is not what this is about.
      while (!leaving.signal.aborted) {
        await fetch(`${server.url}${path}`, request)
          .then((answer) => answer.text())
          .catch(() => undefined);
      }
    };
    void ask();
    return () => leaving.abort();
  };

const QUERY = /* GraphQL */ `
  subscription Stream($input: ChatCompletionInput!) {
    chatCompletion(input: $input) { __typename }
  }
`;
const VARIABLES = { input: { model: MODEL, messages: [{ role: 'USER', content: [{ text: PROMPT }] }] } };

const subscribe: Begin = async () => {
  const client = await openWsClient(`${server.url.replace('http', 'ws')}/graphql`);
  await client.init({ authorization });
  client.subscribe('1', QUERY, VARIABLES);
  return () => client.socket.terminate();
};

const messages = [{ role: 'user', content: PROMPT }];

async function countBegun(): Promise<number> {
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^llm_gateway_time_to_first_token_seconds_count\{[^}]*\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

/** Bytes that the gateway holds for each request while it is answered. */
async function heldFor(begin: Begin): Promise<number> {
  const run = async (requests: number) => {
    const begun = await countBegun();
    const leave = await Promise.all(Array.from({ length: requests }, begin));
    await eventually('answers that have begun', async () => (await countBegun()) >= begun + requests);
    const live = await inspector.liveBytes();
    for (const end of leave) end();
    await server.simulator.until(({ inFlight, queued }) => inFlight + queued === 0);
    await server.rows();
    return live;
  };
  // The first ones load and compile what is needed.
  await run(REQUESTS);
  const few = await run(1);
  return ((await run(REQUESTS + 1)) - few) / REQUESTS;
}

describe('a prompt is not kept once its answer has begun', () => {
  test.each<readonly [string, Begin]>([
    ['a chat that is streamed', post('/v1/chat/completions', { model: MODEL, messages, stream: true })],
    ['a chat in one piece', post('/v1/chat/completions', { model: MODEL, messages })],
    ['a response that is streamed', post('/v1/responses', { model: MODEL, input: PROMPT, stream: true })],
    ['a response in one piece', post('/v1/responses', { model: MODEL, input: PROMPT })],
    ['a subscription over server-sent events', post('/graphql', { query: QUERY, variables: VARIABLES })],
    ['a subscription over WebSocket', subscribe],
  ])(
    '%s',
    async (_, begin) => {
      expect(await heldFor(begin)).toBeLessThan(PROMPT_BYTES / 10);
    },
    60_000,
  );
});
