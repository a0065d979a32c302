import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { getIntrospectionQuery } from 'graphql';
import { Models, StreamAnswer } from '../../examples/documents.ts';
import type { ChatCompletionInput, StreamAnswerSubscription } from '../../examples/generated/graphql.ts';
import { idOf, persistedOperation } from '../../examples/persisted.ts';
import { connect, streamAnswer } from '../../examples/plain.ts';
import { createAnswerStore } from '../../examples/react.ts';
import { answerAs, answerWithTools } from '../../examples/tools.ts';
import {
  ask as askUrql,
  createUrql,
  createUrqlOverHttp,
  streamAnswer as streamUrql,
} from '../../examples/urql.ts';
import type { Stats } from '../../simulator/server.ts';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { startGateway, TEST_KEY } from '../support/gateway.ts';
import { createDatabase } from '../support/postgres.ts';

let server: Deployment;
let apollo: typeof import('../../examples/apollo.ts');
let gateway: { readonly url: string; readonly key: string };
beforeAll(async () => {
  // Apollo Client requires a module that requires graphql, which Jest can only do once graphql is there.
  apollo = await import('../../examples/apollo.ts');
  server = await startDeployment();
  gateway = { url: `${server.url}/graphql`, key: TEST_KEY };
}, 60_000);
afterAll(() => server.close());

const closing: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  server.simulator.setDefault({});
});

const INPUT: ChatCompletionInput = {
  model: 'llama3.1:8b',
  messages: [{ role: 'USER', content: [{ text: 'Why is the sky blue?' }] }],
};
const endless = { tokens: 20, paceMs: 2, neverEnding: true };
const silent = { hangBeforeHeaders: true };

const isIdle = ({ inFlight, queued, loading }: Stats) => inFlight + queued + loading === 0;
/** Resolves when the model server has noticed that one more caller has left. */
const untilFreed = (before: Stats) =>
  server.simulator.until((stats) => isIdle(stats) && stats.aborted === before.aborted + 1);

/** What a client's stream comes to: how to run one, whichever client it is. */
interface Subject {
  readonly ask: ((input: ChatCompletionInput) => Promise<string>) | undefined;
  stream(
    input: ChatCompletionInput,
    onText: (text: string) => void,
  ): { readonly stop: () => void; readonly ended: Promise<unknown> };
}

const SUBJECTS: Readonly<Record<string, () => Subject>> = {
  'plain graphql-ws'() {
    const client = connect(gateway);
    closing.push(() => client.dispose());
    return {
      ask: undefined,
      stream(input, onText) {
        const stopping = new AbortController();
        const ended = streamAnswer(client, input, onText, stopping.signal).then((end) => {
          if (end?.__typename === 'ChatFailed') throw new Error(end.error.message);
        });
        return { stop: () => stopping.abort(), ended };
      },
    };
  },
  'Apollo Client'() {
    const { client, close } = apollo.createApollo(gateway);
    closing.push(close);
    return {
      ask: (input) => apollo.ask(client, input),
      stream: (input, onText) => apollo.streamAnswer(client, input, onText),
    };
  },
  urql() {
    const { client, close } = createUrql(gateway);
    closing.push(close);
    return {
      ask: (input) => askUrql(client, input),
      stream: (input, onText) => streamUrql(client, input, onText),
    };
  },
  'urql over server-sent events'() {
    const { client, close } = createUrqlOverHttp(gateway);
    closing.push(close);
    return {
      ask: (input) => askUrql(client, input),
      stream: (input, onText) => streamUrql(client, input, onText),
    };
  },
};

describe.each(Object.entries(SUBJECTS))('%s', (_name, create) => {
  test('streams an answer', async () => {
    server.simulator.script({ text: 'Because of “Rayleigh” scattering 🌍.', paceMs: 5 });
    const pieces: string[] = [];
    await create().stream(INPUT, (text) => pieces.push(text)).ended;
    expect(pieces.join('')).toBe('Because of “Rayleigh” scattering 🌍.');
    expect(pieces.length).toBeGreaterThan(1);
  });

  test('stops the model at once, in the middle of an answer', async () => {
    server.simulator.script(endless);
    const before = server.simulator.stats();
    const { promise: hasText, resolve } = Promise.withResolvers<unknown>();
    const { stop, ended } = create().stream(INPUT, resolve);
    await hasText;
    stop();
    await Promise.all([ended, untilFreed(before)]);
  });

  test('stops the model at once, also before it has said anything', async () => {
    server.simulator.script(silent);
    const before = server.simulator.stats();
    const { stop, ended } = create().stream(INPUT, () => undefined);
    await server.simulator.until((stats) => stats.inFlight === 1);
    stop();
    await Promise.all([ended, untilFreed(before)]);
  });

  test('says why an answer broke off, and has the text until then', async () => {
    server.simulator.script({ tokens: 10, eofAfter: 4 });
    let text = '';
    const { ended } = create().stream(INPUT, (piece) => {
      text += piece;
    });
    await expect(ended).rejects.toThrow('broke off');
    expect(text).toBe(' the river runs past');
  });

  test('says why there is no answer at all', async () => {
    const { stream, ask } = create();
    const unknown = { ...INPUT, model: 'gpt-5' };
    await expect(stream(unknown, () => undefined).ended).rejects.toThrow(/gpt-5/);
    if (ask) await expect(ask(unknown)).rejects.toThrow(/gpt-5/);
  });

  test('asks for an answer in one piece', async () => {
    const { ask } = create();
    if (!ask) return;
    server.simulator.script({ text: 'Because.' });
    expect(await ask(INPUT)).toBe('Because.');
  });
});

test('Apollo Client lists the models, and knows them the second time', async () => {
  const { client, close } = apollo.createApollo(gateway);
  closing.push(close);
  const first = await apollo.listModels(client);
  expect(first).toContain('llama3.1:8b');
  expect(await apollo.listModels(client)).toEqual(first);
});

describe('a socket that breaks', () => {
  test('fails its answer, does not ask again by itself, and is replaced with the next question', async () => {
    const client = connect(gateway);
    closing.push(() => client.dispose());
    server.simulator.script(endless);
    const before = server.simulator.stats();
    const { promise: hasText, resolve } = Promise.withResolvers<unknown>();
    const broken = streamAnswer(client, INPUT, resolve);
    await hasText;
    client.terminate();
    await expect(broken).rejects.toMatchObject({ code: 4499 });
    await untilFreed(before);
    server.simulator.script({ text: 'Again.' });
    let text = '';
    const end = await streamAnswer(client, INPUT, (piece) => {
      text += piece;
    });
    expect([end?.__typename, text]).toEqual(['ChatFinished', 'Again.']);
    expect(server.simulator.stats().requests).toBe(before.requests + 2);
  });

  test('is refused for a key that is not valid, with the code that says so', async () => {
    const client = connect({ ...gateway, key: 'llmgw_nobody' });
    closing.push(() => client.dispose());
    await expect(streamAnswer(client, INPUT, () => undefined)).rejects.toMatchObject({ code: 4403 });
  });
});

describe('the store of an answer for React', () => {
  test('has the text as it comes, and the end', async () => {
    const client = connect(gateway);
    closing.push(() => client.dispose());
    const store = createAnswerStore(client);
    const seen: string[] = [];
    const unsubscribe = store.subscribe(() => seen.push(store.getState().status));
    server.simulator.script({ text: 'Blue because.', paceMs: 5 });
    await store.ask(INPUT);
    expect(store.getState()).toEqual({ status: 'finished', text: 'Blue because.' });
    expect(seen[0]).toBe('running');
    expect(seen.at(-1)).toBe('finished');
    expect(seen.length).toBeGreaterThan(2);
    unsubscribe();
    server.simulator.script({ tokens: 10, eofAfter: 4 });
    await store.ask(INPUT);
    expect(store.getState()).toMatchObject({ status: 'failed', text: ' the river runs past' });
    expect(seen.at(-1)).toBe('finished');
  });

  test('keeps what has come when it is stopped, and nothing of an answer that another question replaced', async () => {
    const client = connect(gateway);
    closing.push(() => client.dispose());
    const store = createAnswerStore(client);
    const untilText = () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const unsubscribe = store.subscribe(() => store.getState().text !== '' && resolve());
      return promise.finally(unsubscribe);
    };
    const before = server.simulator.stats();
    server.simulator.script(endless, endless);
    const replaced = store.ask(INPUT);
    await untilText();
    const stopped = store.ask(INPUT);
    expect(store.getState()).toEqual({ status: 'running', text: '' });
    await untilText();
    store.stop();
    await Promise.all([replaced, stopped]);
    expect(store.getState().status).toBe('stopped');
    expect(store.getState().text).not.toBe('');
    await server.simulator.until((stats) => isIdle(stats) && stats.aborted === before.aborted + 2);
  });
});

describe('over plain HTTP', () => {
  test('a model gets the results of the tools that it calls, and answers with them', async () => {
    const asked: unknown[] = [];
    const get_weather = {
      name: 'get_weather',
      parameters: { type: 'object', properties: { city: { type: 'string' } } },
      run(args: unknown) {
        asked.push(args);
        return '{"celsius":4}';
      },
    };
    const calls = ['Oslo', 'Rome'].map((city) => ({ name: 'get_weather', arguments: { city } }));
    server.simulator.script({ toolCalls: calls });
    const answer = await answerWithTools(gateway, INPUT, { get_weather });
    expect(asked).toEqual([{ city: 'Oslo' }, { city: 'Rome' }]);
    expect(answer).toContain('The tool answered: {"celsius":4}');
  });

  test('a model that never stops to call tools is stopped', async () => {
    // The simulator answers what it has a result for, so one round is where it has not come to an end.
    server.simulator.script({ toolCalls: [{ name: 'look', arguments: {} }] });
    let looks = 0;
    const look = { name: 'look', run: () => `${++looks} looks` };
    await expect(answerWithTools(gateway, INPUT, { look }, 1)).rejects.toThrow('in 1 rounds');
    expect(looks).toBe(1);
  });

  test('an answer has the form of a schema', async () => {
    const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
    const parse = (value: unknown) => (value as { city: string }).city;
    expect(await answerAs(gateway, INPUT, schema, parse)).toEqual(expect.any(String));
    server.simulator.script({ tokens: 10 });
    const short = { ...INPUT, maxCompletionTokens: 2 };
    await expect(answerAs(gateway, short, schema, parse)).rejects.toThrow('cut');
  });
});

describe('as a program', () => {
  test.each(['plain', 'apollo', 'urql', 'tools'])('node examples/%s.ts answers a question', async (name) => {
    const env = { PATH: process.env['PATH'] ?? '', GATEWAY_URL: gateway.url };
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [`examples/${name}.ts`, 'Is anybody there?'],
      { cwd: join(import.meta.dirname, '../..'), env },
    );
    expect(stderr).toBe('');
    expect(stdout).toContain('You said: Is anybody there?');
  });
});

/** A gateway of its own, on an empty database. */
async function openGateway(
  env: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { readonly url: string }> {
  const { url: databaseUrl, drop } = await createDatabase();
  const ollama = server.simulator.url;
  const { url, stop } = await startGateway({ DATABASE_URL: databaseUrl, OLLAMA_URLS: ollama, ...env });
  return {
    url: `${url}/graphql`,
    async [Symbol.asyncDispose]() {
      await stop();
      await drop();
    },
  };
}

async function post(url: string, key: string, body: object) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  return JSON.parse(await response.text());
}

test('a gateway that accepts persisted documents only takes those of the examples by their ids', async () => {
  await using strict = await openGateway({
    PERSISTED_DOCUMENTS: 'examples/generated/persisted-documents.json',
    PERSISTED_ONLY: 'true',
    SEED_DEMO_KEYS: 'true',
  });
  const { url } = strict;
  const client = connect({ url, key: TEST_KEY });
  try {
    const operation = persistedOperation(StreamAnswer, { input: INPUT, coalesceMs: 0 });
    const events: unknown[] = [];
    for await (const { data } of client.iterate<StreamAnswerSubscription>(operation)) {
      events.push(data?.chatCompletion.__typename);
    }
    expect(events.at(-1)).toBe('ChatFinished');
  } finally {
    await client.dispose();
  }
  expect(await post(url, TEST_KEY, { documentId: idOf(Models) })).toMatchObject({
    data: { models: expect.any(Array) },
  });
  expect(await post(url, TEST_KEY, { query: '{ models { name } }' })).toMatchObject({
    errors: [{ extensions: { code: 'PERSISTED_DOCUMENT_REQUIRED' } }],
  });
});

test('a gateway in production tells nobody its schema', async () => {
  const key = `llmgw_${'0123456789abcdef'.repeat(4)}`;
  await using production = await openGateway({ NODE_ENV: 'production', GATEWAY_ADMIN_KEY: key });
  const { url } = production;
  expect(await post(url, key, { query: '{ viewer { name } }' })).toMatchObject({ data: { viewer: {} } });
  for (const query of [getIntrospectionQuery(), '{ viewer { nam } }']) {
    const { errors } = await post(url, key, { query });
    expect(errors[0]).toMatchObject({ extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } });
    expect(JSON.stringify(errors)).not.toContain('Did you mean');
  }
  const page = await fetch(url, { headers: { accept: 'text/html' } });
  expect([page.status, await page.text()]).toEqual([406, expect.not.stringContaining('<')]);
});
