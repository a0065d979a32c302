import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import type { ChatCompletionChunk, ChatCompletionTool } from 'openai/resources/chat/completions';
import { z } from 'zod';
import * as answers from '../../../src/rest/openai/response-schema.ts';
import { parseEvents } from '../../support/sse.ts';

/** A running server, as its clients know it. */
export interface Subject {
  /** Without `/v1`. */
  readonly url: string;
  /** A key with the scopes of inference, not limited. */
  readonly key: string;
  /** A model that can call tools, and one that can embed. */
  readonly models: { readonly chat: string; readonly embedding: string };
  close(): Promise<void>;
}

const WEATHER: ChatCompletionTool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

/** What OpenAI's clients rely on, each rule with its id. The same for any server that claims to be compatible. */
export function describeConformance(name: string, start: () => Promise<Subject>): void {
  describe(`${name} speaks OpenAI's REST API`, () => {
    let subject: Subject;
    let client: OpenAI;
    beforeAll(async () => {
      subject = await start();
      client = new OpenAI({ baseURL: `${subject.url}/v1`, apiKey: subject.key, maxRetries: 0 });
    });
    afterAll(() => subject.close());

    const session = (): Session => ({ subject, client });
    describeChat(session);
    describeStreams(session);
    describeTools(session);
    describeEmbeddings(session);
    describeModelsAndCompletions(session);
    describeRefusals(session);
  });
}

interface Session {
  readonly subject: Subject;
  readonly client: OpenAI;
}

const messages = [{ role: 'user' as const, content: 'Say hello.' }];

function post({ subject }: Session, path: string, body: unknown, headers: Record<string, string> = {}) {
  return fetch(subject.url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { authorization: `Bearer ${subject.key}`, 'content-type': 'application/json', ...headers },
  });
}

async function collect(stream: AsyncIterable<ChatCompletionChunk>): Promise<ChatCompletionChunk[]> {
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

function describeChat(session: () => Session): void {
  test('OAI-01 MUST answer a chat with one message, a finish reason, usage and timings', async () => {
    const { subject, client } = session();
    const answer = await client.chat.completions.create({ model: subject.models.chat, messages });
    const { _request_id, ...body } = answer;
    answers.chatCompletion.parse(body);
    expect(answer.choices[0]?.message.content).not.toBe('');
    expect(answer.usage?.total_tokens).toBeGreaterThan(0);
    expect(_request_id).toBeTruthy();
  });

  test('OAI-02 MUST answer n times when asked to', async () => {
    const { subject, client } = session();
    const answer = await client.chat.completions.create({ model: subject.models.chat, messages, n: 3 });
    expect(answer.choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
  });

  test('OAI-03 MUST take null for every optional parameter', async () => {
    const nothing = {
      temperature: null,
      tools: null,
      stream: null,
      stop: null,
      n: null,
      seed: null,
      user: null,
    };
    const { subject } = session();
    const body = { model: subject.models.chat, messages, stream_options: null, logit_bias: null, ...nothing };
    expect((await post(session(), '/v1/chat/completions', body)).status).toBe(200);
  });

  test('OAI-04 MUST constrain the answer to a JSON schema, as the parse helper expects', async () => {
    const { subject, client } = session();
    const answer = await client.chat.completions.parse({
      model: subject.models.chat,
      messages,
      response_format: zodResponseFormat(z.object({ city: z.string() }), 'place'),
    });
    expect(answer.choices[0]?.message.parsed).toEqual({ city: expect.any(String) });
  });

  test('OAI-05 MUST show the request id, the caller’s own where it sent one, and the time taken', async () => {
    const { subject } = session();
    const body = { model: subject.models.chat, messages };
    const { headers } = await post(session(), '/v1/chat/completions', body, {
      'x-client-request-id': 'mine-1',
    });
    expect(headers.get('x-request-id')).toBe('mine-1');
    expect(headers.get('openai-processing-ms')).toMatch(/^\d+$/);
    expect(headers.get('content-type')).toMatch(/^application\/json/);
  });
}

function describeStreams(session: () => Session): void {
  const stream = (over: object = {}) => {
    const { subject, client } = session();
    return client.chat.completions.create({ model: subject.models.chat, messages, ...over, stream: true });
  };

  test('OAI-10 MUST begin each choice with the role and end it with exactly one finish reason', async () => {
    const chunks = await collect(await stream({ n: 2 }));
    for (const index of [0, 1]) {
      const own = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
      expect(own[0]?.delta).toMatchObject({ role: 'assistant', content: '' });
      expect(own.filter((choice) => choice.finish_reason !== null)).toHaveLength(1);
      expect(own.at(-1)?.finish_reason).toBe('stop');
    }
  });

  test('OAI-11 MUST give every chunk the same id, time and model', async () => {
    const chunks = await collect(await stream());
    for (const chunk of chunks) answers.chatCompletionChunk.parse(chunk);
    expect(new Set(chunks.map(({ id, created, model }) => JSON.stringify([id, created, model]))).size).toBe(
      1,
    );
  });

  test('OAI-12 MUST send usage unasked on no chunk', async () => {
    const chunks = await collect(await stream());
    expect(chunks.filter((chunk) => 'usage' in chunk || chunk.choices.length === 0)).toEqual([]);
  });

  test('OAI-13 MUST send usage, when asked, on one last chunk without choices, and null before', async () => {
    const chunks = await collect(await stream({ stream_options: { include_usage: true } }));
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: expect.any(Number) } });
    expect(chunks.slice(0, -1).filter((chunk) => chunk.usage !== null)).toEqual([]);
  });

  test('OAI-14 MUST end with [DONE], once, and use no field but data', async () => {
    const { subject } = session();
    const body = { model: subject.models.chat, messages, stream: true };
    const response = await post(session(), '/v1/chat/completions', body);
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    const text = await response.text();
    const { data, otherFields } = parseEvents(text);
    expect(otherFields).toEqual([]);
    expect(data.filter((event) => event === '[DONE]')).toHaveLength(1);
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('OAI-15 MUST let a client stop in the middle and go on with the next request', async () => {
    for await (const chunk of await stream()) {
      expect(chunk.object).toBe('chat.completion.chunk');
      break;
    }
    const { subject, client } = session();
    await client.chat.completions.create({ model: subject.models.chat, messages });
  });

  test('OAI-16 MUST refuse stream_options without stream', async () => {
    const { subject } = session();
    const body = { model: subject.models.chat, messages, stream_options: { include_usage: true } };
    const response = await post(session(), '/v1/chat/completions', body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: 'stream_options' } });
  });
}

function describeTools(session: () => Session): void {
  const request = () => ({
    model: session().subject.models.chat,
    messages,
    tools: [WEATHER],
    tool_choice: 'required' as const,
  });

  test('OAI-20 MUST take a round of tools: the call, its result, the answer', async () => {
    const { client } = session();
    const [choice] = (await client.chat.completions.create(request())).choices;
    expect(choice?.finish_reason).toBe('tool_calls');
    expect(choice?.message.content).toBeNull();
    const [call] = choice?.message.tool_calls ?? [];
    if (!choice || call?.type !== 'function') throw new Error('no function was called');
    expect(call.function.name).toBe('get_weather');
    expect(JSON.parse(call.function.arguments)).toEqual({ city: expect.any(String) });

    const result = { role: 'tool' as const, tool_call_id: call.id, content: 'Sunny.' };
    const answer = await client.chat.completions.create({
      ...request(),
      tool_choice: 'auto',
      messages: [...messages, choice.message, result],
    });
    expect(answer.choices[0]?.finish_reason).toBe('stop');
  });

  test('OAI-21 MUST stream a call as its name with empty arguments, then the arguments', async () => {
    const { client } = session();
    const chunks = await collect(await client.chat.completions.create({ ...request(), stream: true }));
    const deltas = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    expect(deltas[0]).toMatchObject({
      index: 0,
      type: 'function',
      function: { name: 'get_weather', arguments: '' },
    });
    expect(deltas.slice(1).every((delta) => delta.id === undefined && !delta.function?.name)).toBe(true);
    const args = deltas.map((delta) => delta.function?.arguments ?? '').join('');
    expect(JSON.parse(args)).toEqual({ city: expect.any(String) });
  });

  test('OAI-22 MUST satisfy the streaming helper, which is strict about the identity of calls', async () => {
    const { client } = session();
    const final = await client.chat.completions.stream(request()).finalChatCompletion();
    expect(final.choices[0]?.message.tool_calls).toHaveLength(1);
  });

  test('OAI-23 MUST refuse a result that answers no call', async () => {
    const { client } = session();
    const orphan = { role: 'tool' as const, tool_call_id: 'call_x', content: 'Sunny.' };
    const failing = client.chat.completions.create({ ...request(), messages: [...messages, orphan] });
    await expect(failing).rejects.toMatchObject({ status: 400, param: 'messages[1].tool_call_id' });
  });
}

function describeEmbeddings(session: () => Session): void {
  test('OAI-30 MUST answer base64, which the SDK asks for by itself, with the same numbers as float', async () => {
    const { subject, client } = session();
    const request = { model: subject.models.embedding, input: ['one', 'two'] };
    const decoded = await client.embeddings.create(request);
    const plain = await client.embeddings.create({ ...request, encoding_format: 'float' });
    expect(decoded.data.map((item) => item.index)).toEqual([0, 1]);
    for (const [index, { embedding }] of decoded.data.entries()) {
      const expected = plain.data[index]?.embedding ?? [];
      expect(embedding.map(Math.fround)).toEqual(expected.map(Math.fround));
      expect(embedding.length).toBeGreaterThan(0);
    }
    expect(plain.usage.total_tokens).toBeGreaterThan(0);
  });

  test('OAI-31 MUST refuse tokens and emptiness by name', async () => {
    const { subject } = session();
    for (const input of ['', [], [1, 2], [[1]], ['a', '']]) {
      const response = await post(session(), '/v1/embeddings', { model: subject.models.embedding, input });
      expect(response.status).toBe(400);
      expect(answers.errorBody.parse(await response.json()).error.param).toMatch(/^input/);
    }
  });
}

function describeModelsAndCompletions(session: () => Session): void {
  test('OAI-40 MUST list models and find each by its id', async () => {
    const { subject, client } = session();
    const ids: string[] = [];
    for await (const model of client.models.list()) ids.push(model.id);
    expect(ids).toContain(subject.models.chat);
    const model = await client.models.retrieve(subject.models.chat);
    expect(model).toMatchObject({ id: subject.models.chat, object: 'model', owned_by: expect.any(String) });
    expect(Number.isInteger(model.created)).toBe(true);
  });

  test('OAI-41 MUST answer several prompts in one list of choices, prompt by prompt', async () => {
    const { subject, client } = session();
    const answer = await client.completions.create({ model: subject.models.chat, prompt: ['a', 'b'], n: 2 });
    const { _request_id, ...body } = answer;
    answers.completion.parse(body);
    expect(answer.choices.map((choice) => choice.index)).toEqual([0, 1, 2, 3]);
  });

  test('OAI-42 MUST stream completions under the same object name', async () => {
    const { subject, client } = session();
    const stream = await client.completions.create({ model: subject.models.chat, prompt: 'a', stream: true });
    let finishes = 0;
    for await (const chunk of stream) {
      answers.completion.parse(chunk);
      if (chunk.choices[0]?.finish_reason) finishes++;
    }
    expect(finishes).toBe(1);
  });
}

function describeRefusals(session: () => Session): void {
  test('OAI-50 MUST answer a wrong key and a missing one as AuthenticationError', async () => {
    const { subject } = session();
    const stranger = new OpenAI({ baseURL: `${subject.url}/v1`, apiKey: 'llmgw_wrong', maxRetries: 0 });
    const failure = await stranger.models.list().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AuthenticationError);
    expect(failure).toMatchObject({
      code: 'invalid_api_key',
      type: 'invalid_request_error',
      requestID: expect.any(String),
    });
    expect((await fetch(`${subject.url}/v1/models`)).status).toBe(401);
  });

  test('OAI-51 MUST answer an unknown model as NotFoundError, before any stream begins', async () => {
    const { client } = session();
    for (const stream of [false, true]) {
      const failing = client.chat.completions.create({ model: 'no-such-model', messages, stream });
      const failure = await failing.catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(NotFoundError);
      expect(failure).toMatchObject({ code: 'model_not_found' });
    }
  });

  test('OAI-52 MUST name the parameter it cannot honour', async () => {
    const { subject, client } = session();
    const failing = client.chat.completions.create({
      model: subject.models.chat,
      messages,
      logit_bias: { 1: 1 },
    });
    const failure = await failing.catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BadRequestError);
    expect(failure).toMatchObject({ param: 'logit_bias', code: 'unsupported_parameter' });
  });

  test('OAI-53 MUST fetch no image', async () => {
    const { subject, client } = session();
    const image = { type: 'image_url' as const, image_url: { url: 'http://127.0.0.1:1/x.png' } };
    const failing = client.chat.completions.create({
      model: subject.models.chat,
      messages: [{ role: 'user', content: [image] }],
    });
    await expect(failing).rejects.toMatchObject({
      status: 400,
      param: 'messages[0].content[0].image_url.url',
    });
  });

  test.each([
    ['OAI-54', 'an unknown route', 'POST', '/v1/nothing', '{}', 404],
    ['OAI-55', 'a wrong method', 'GET', '/v1/embeddings', undefined, 405],
    ['OAI-56', 'malformed JSON', 'POST', '/v1/chat/completions', '{"model"', 400],
    [
      'OAI-57',
      'deep nesting',
      'POST',
      '/v1/chat/completions',
      `{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`,
      400,
    ],
  ])('%s MUST answer %s in the shape of the API', async (_id, _name, method, path, body, status) => {
    const { subject } = session();
    const response = await fetch(subject.url + path, {
      method,
      headers: { authorization: `Bearer ${subject.key}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body }),
    });
    expect(response.status).toBe(status);
    answers.errorBody.parse(await response.json());
  });

  test('OAI-58 MUST send one Access-Control-Allow-Origin, on failures too', async () => {
    const { subject } = session();
    const response = await fetch(`${subject.url}/v1/nothing`, { headers: { origin: 'https://a.example' } });
    expect(response.headers.get('access-control-allow-origin')).toMatch(/^(\*|https:\/\/a\.example)$/);
  });
}
