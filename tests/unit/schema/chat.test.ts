import { beforeEach, describe, expect, test } from '@jest/globals';
import type { ChatRequest } from '../../../src/domain/chat.ts';
import { type ErrorCode, GatewayError } from '../../../src/domain/error.ts';
import { encodeNodeId } from '../../../src/schema/ids.ts';
import { content, finished, started } from '../../support/fake-gateway.ts';
import { createHarness, type Data, type SchemaHarness } from '../../support/schema.ts';

const CREATE = /* GraphQL */ `
  mutation Create($input: ChatCompletionInput!) {
    createChatCompletion(input: $input) {
      __typename
      ... on ChatCompletion {
        completionId
        createdAt
        model
        backend
        warnings
        choices {
          index
          message { content reasoning toolCalls { id name arguments } }
          logprobs { token logprob bytes topLogprobs { token } }
          finishReason
          rawFinishReason
        }
        usage { promptTokens completionTokens totalTokens }
        timings { totalMs tokensPerSecond }
      }
      ... on Error { code message retryable }
      ... on InvalidRequestError { path }
      ... on CapabilityMissingError { path }
      ... on ModelNotFoundError { path }
      ... on NotPermittedError { path }
      ... on UpstreamUnavailableError { retryAfterMs }
      ... on GatewayUnavailableError { retryAfterMs }
    }
  }
`;

const user = (...content: Data[]) => ({ role: 'USER', content });
const text = (value: string) => ({ text: value });
const INPUT = { model: 'llama3.1:8b', messages: [user(text('Hello'))] };

let harness: SchemaHarness;
beforeEach(() => {
  harness = createHarness();
});

async function create(input: Data): Promise<Data> {
  return (await harness.run(CREATE, { input }))['createChatCompletion'] as Data;
}

async function requestFor(input: Data): Promise<ChatRequest> {
  expect(await create({ ...INPUT, ...input })).toMatchObject({ __typename: 'ChatCompletion' });
  const request = harness.fake.requests.at(-1);
  if (request?.kind !== 'chat') throw new Error('the core was asked no chat');
  return request;
}

describe('the answer', () => {
  test('has everything that the events amount to', async () => {
    harness.fake.script = async function* () {
      yield [{ ...started(), warnings: ['Seeds have no effect.'] } as const satisfies object as never];
      yield [{ type: 'reasoning', choice: 0, text: 'hm' }, content('Hel'), content('lo')];
      yield [{ type: 'toolCall', choice: 1, index: 0, id: 'call_1', name: 'f', arguments: '{}' }];
      yield [
        finished({
          reasons: [
            { unified: 'length', raw: 'length' },
            { unified: 'toolCalls', raw: 'stop' },
          ],
        }),
      ];
    };
    expect(await create({ ...INPUT, n: 2 })).toEqual({
      __typename: 'ChatCompletion',
      completionId: encodeNodeId('Request', 'x0'),
      createdAt: '2026-01-01T12:00:00.000Z',
      model: 'llama3.1:8b',
      backend: 'ollama-1',
      warnings: ['Seeds have no effect.'],
      choices: [
        {
          index: 0,
          message: { content: 'Hello', reasoning: 'hm', toolCalls: [] },
          logprobs: null,
          finishReason: 'LENGTH',
          rawFinishReason: 'length',
        },
        {
          index: 1,
          message: {
            content: null,
            reasoning: null,
            toolCalls: [{ id: 'call_1', name: 'f', arguments: '{}' }],
          },
          logprobs: null,
          finishReason: 'TOOL_CALLS',
          rawFinishReason: 'stop',
        },
      ],
      usage: { promptTokens: 5, completionTokens: 3, totalTokens: 8 },
      timings: { totalMs: 10, tokensPerSecond: 30 },
    });
    expect(harness.fake.callers).toEqual([
      expect.objectContaining({
        protocol: 'graphql',
        operation: 'chat',
        streamed: false,
        requestId: 'req_test',
      }),
    ]);
  });

  test('has log probabilities where they were asked for', async () => {
    harness.fake.script = async function* () {
      const top = [{ token: 'b', logprob: -2 }];
      yield [
        started(),
        { type: 'content', choice: 0, text: 'a', logprobs: [{ token: 'a', logprob: -1, top }] },
      ];
      yield [finished()];
    };
    const { choices } = (await create({ ...INPUT, logprobs: true, topLogprobs: 1 })) as { choices: Data[] };
    expect(choices[0]?.['logprobs']).toEqual([
      { token: 'a', logprob: -1, bytes: null, topLogprobs: [{ token: 'b' }] },
    ]);
  });

  test('leaves the limits that it was admitted under in the context, also where it fails', async () => {
    harness.fake.limits = harness.limits;
    for (const model of ['llama3.1:8b', 'nothing']) {
      const context = harness.context();
      await harness.run(CREATE, { input: { ...INPUT, model } }, context);
      expect(context.rateLimit).toBe(harness.limits);
    }
  });
});

describe('the request', () => {
  test('has the defaults of the protocol where nothing is said', async () => {
    expect(await requestFor({})).toEqual({
      kind: 'chat',
      model: 'llama3.1:8b',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
      tools: [],
      toolChoice: { type: 'none' },
      parallelToolCalls: true,
      responseFormat: { type: 'text' },
      sampling: {},
      choices: 1,
    });
  });

  test('null is the same as absent', async () => {
    const absent = await requestFor({});
    const optional = [
      ...['tools', 'toolChoice', 'responseFormat', 'reasoningEffort', 'maxCompletionTokens', 'temperature'],
      ...['topP', 'topK', 'minP', 'frequencyPenalty', 'presencePenalty', 'seed', 'stop', 'topLogprobs'],
      'keepAliveSeconds',
    ];
    expect(await requestFor(Object.fromEntries(optional.map((name) => [name, null])))).toEqual(absent);
  });

  test('carries every parameter', async () => {
    const schema = {
      type: 'object',
      properties: { city: { type: 'string', enum: ['Paris', null, 1.5, true] } },
    };
    const request = await requestFor({
      tools: [{ name: 'get_weather', description: 'Weather.', parameters: schema }, { name: 'now' }],
      toolChoice: { tool: 'now' },
      parallelToolCalls: false,
      responseFormat: { jsonSchema: { name: 'weather', schema } },
      reasoningEffort: 'XHIGH',
      maxCompletionTokens: 3_000_000_000,
      temperature: 0,
      topP: 0.5,
      topK: 40,
      minP: 0.1,
      frequencyPenalty: -2,
      presencePenalty: 2,
      seed: -7,
      stop: ['a', 'b', 'c', 'd'],
      n: 128,
      logprobs: true,
      topLogprobs: 20,
      keepAliveSeconds: -1,
    });
    expect(request).toMatchObject({
      tools: [{ name: 'get_weather', description: 'Weather.', parameters: schema }, { name: 'now' }],
      toolChoice: { type: 'tool', name: 'now' },
      parallelToolCalls: false,
      responseFormat: { type: 'jsonSchema', name: 'weather', schema },
      sampling: {
        maxOutputTokens: 3_000_000_000,
        temperature: 0,
        topP: 0.5,
        topK: 40,
        minP: 0.1,
        frequencyPenalty: -2,
        presencePenalty: 2,
        seed: -7,
        stop: ['a', 'b', 'c', 'd'],
      },
      choices: 128,
      reasoningEffort: 'xhigh',
      logprobs: { top: 20 },
      keepAlive: -1,
    });
  });

  test.each([
    [{ mode: 'AUTO' }, { type: 'auto' }],
    [{ mode: 'NONE' }, { type: 'none' }],
    [{ mode: 'REQUIRED' }, { type: 'required' }],
    [undefined, { type: 'auto' }],
  ])('with tools, the choice %j is %j', async (toolChoice, expected) => {
    expect((await requestFor({ tools: [{ name: 'f' }], toolChoice })).toolChoice).toEqual(expected);
  });

  test.each([
    [{ type: 'TEXT' }, { type: 'text' }],
    [{ type: 'JSON_OBJECT' }, { type: 'json' }],
  ])('the response format %j is %j', async (responseFormat, expected) => {
    expect((await requestFor({ responseFormat })).responseFormat).toEqual(expected);
  });

  test('says every kind of message and part', async () => {
    const { messages } = await requestFor({
      messages: [
        { role: 'SYSTEM', content: [text('a'), text('b')] },
        { role: 'DEVELOPER', content: [text('c')] },
        user(text('Look:'), { image: { url: 'data:image/PNG;base64,aGk=' } }, text('')),
        {
          role: 'ASSISTANT',
          content: [
            { reasoning: 'hm' },
            text('Calling.'),
            { toolCall: { id: 'call_1', name: 'f', arguments: '{"a":1}' } },
            { toolCall: { id: 'call_2', name: 'g', arguments: '{"cut":' } },
          ],
        },
        { role: 'TOOL', content: [{ toolResult: { toolCallId: 'call_2', content: '42' } }] },
      ],
    });
    const part = (value: string) => ({ type: 'text', text: value });
    expect(messages).toEqual([
      { role: 'system', content: [part('a'), part('b')] },
      { role: 'system', content: [part('c')] },
      {
        role: 'user',
        content: [part('Look:'), { type: 'image', base64: 'aGk=', mediaType: 'image/png' }, part('')],
      },
      {
        role: 'assistant',
        content: [part('Calling.')],
        reasoning: 'hm',
        toolCalls: [
          { id: 'call_1', name: 'f', arguments: '{"a":1}' },
          { id: 'call_2', name: 'g', arguments: '{"cut":' },
        ],
      },
      { role: 'tool', toolCallId: 'call_2', content: [part('42')] },
    ]);
  });

  test('takes a JSON Schema written in the document, with its variables', async () => {
    await harness.run(/* GraphQL */ `
      mutation {
        createChatCompletion(
          input: {
            model: "llama3.1:8b"
            messages: [{ role: USER, content: [{ text: "hi" }] }]
            tools: [{ name: "f", parameters: { type: "object", deep: [1, 2.5, true, null, { a: "b" }] } }]
          }
        ) { __typename }
      }
    `);
    const request = harness.fake.requests[0] as ChatRequest;
    expect(JSON.stringify(request.tools[0]?.parameters)).toBe(
      '{"type":"object","deep":[1,2.5,true,null,{"a":"b"}]}',
    );
  });
});

describe('a wrong input is answered with its place, and nothing reaches the core', () => {
  const assistant = (...content: Data[]) => ({ role: 'ASSISTANT', content });
  const call = (change: Data = {}) => ({ toolCall: { id: 'c', name: 'f', arguments: '{}', ...change } });
  const at = (...messages: Data[]) => ({ messages });
  const tools = [{ name: 'f' }];

  test.each<[string, Data]>([
    ['input.model', { model: '' }],
    ['input.model', { model: 'x'.repeat(257) }],
    ['input.messages', { messages: [] }],
    ['input.messages[0].content', at(user())],
    [
      'input.messages[1].content[0]',
      at(user(text('a')), { role: 'SYSTEM', content: [{ image: { url: 'x' } }] }),
    ],
    ['input.messages[0].content[0]', at(user(call()))],
    [
      'input.messages[0].content[1].image.url',
      at(user(text('a'), { image: { url: 'https://a.example/b.png' } })),
    ],
    ['input.messages[0].content[0].image.url', at(user({ image: { url: 'data:image/png;base64,?' } }))],
    ['input.messages[0].content[0].image.url', at(user({ image: { url: 'data:text/html;base64,aGk=' } }))],
    ['input.messages[0].content', at(assistant({ reasoning: 'only' }))],
    ['input.messages[0].content[0].toolCall.id', at(assistant(call({ id: '' })))],
    ['input.messages[0].content[0].toolCall.name', at(assistant(call({ name: '' })))],
    ['input.messages[0].content[0]', at({ role: 'TOOL', content: [text('42')] })],
    [
      'input.messages[0].content[0].toolResult.toolCallId',
      at({ role: 'TOOL', content: [{ toolResult: { toolCallId: 'c', content: '42' } }] }, assistant(call())),
    ],
    [
      'input.messages[1].content',
      at(assistant(call()), {
        role: 'TOOL',
        content: [
          { toolResult: { toolCallId: 'c', content: '42' } },
          { toolResult: { toolCallId: 'c', content: '43' } },
        ],
      }),
    ],
    ['input.tools', { tools: Array.from({ length: 129 }, () => ({ name: 'f' })) }],
    ['input.tools[0].name', { tools: [{ name: 'not a name' }] }],
    ['input.tools[0].name', { tools: [{ name: 'x'.repeat(65) }] }],
    ['input.tools[1].parameters', { tools: [{ name: 'f' }, { name: 'g', parameters: [] }] }],
    ['input.toolChoice', { toolChoice: { mode: 'REQUIRED' } }],
    ['input.toolChoice', { toolChoice: { tool: 'f' } }],
    ['input.toolChoice.tool', { tools, toolChoice: { tool: 'g' } }],
    ['input.responseFormat.jsonSchema.name', { responseFormat: { jsonSchema: { name: '', schema: {} } } }],
    [
      'input.responseFormat.jsonSchema.schema',
      { responseFormat: { jsonSchema: { name: 'a', schema: 'b' } } },
    ],
    ['input.maxCompletionTokens', { maxCompletionTokens: 0 }],
    ['input.temperature', { temperature: -0.1 }],
    ['input.temperature', { temperature: 2.1 }],
    ['input.topP', { topP: 1.1 }],
    ['input.topK', { topK: -1 }],
    ['input.minP', { minP: -0.1 }],
    ['input.frequencyPenalty', { frequencyPenalty: 2.1 }],
    ['input.presencePenalty', { presencePenalty: -2.1 }],
    ['input.stop', { stop: Array(33).fill('x') }],
    ['input.stop[1]', { stop: ['a', ''] }],
    ['input.n', { n: 0 }],
    ['input.n', { n: 129 }],
    ['input.topLogprobs', { topLogprobs: 1 }],
    ['input.topLogprobs', { topLogprobs: 21, logprobs: true }],
  ])('%s: %j', async (path, change) => {
    const answer = await create({ ...INPUT, ...change });
    expect(answer).toMatchObject({
      __typename: 'InvalidRequestError',
      code: 'INVALID_REQUEST',
      retryable: false,
      path,
    });
    expect(answer['message']).toContain(path);
    expect(harness.fake.requests).toEqual([]);
  });

  test.each<[string, Data]>([
    ['two parts in one', at(user({ text: 'a', reasoning: 'b' }))],
    ['a part that is null', at(user({ text: null }))],
    ['an unknown role', at({ role: 'ROOT', content: [text('a')] })],
    ['JSON nested too deep', { tools: [{ name: 'f', parameters: nested(65) }] }],
    ['a seed that is no safe integer', { seed: 2 ** 53 }],
  ])('%s is refused before anything runs', async (_what, change) => {
    const { data, errors } = await harness.execute(CREATE, { input: { ...INPUT, ...change } });
    expect(errors).toHaveLength(1);
    expect(data).toBeUndefined();
    expect(harness.fake.requests).toEqual([]);
  });

  test('JSON may be nested 64 deep', async () => {
    await requestFor({ tools: [{ name: 'f', parameters: nested(64) }] });
  });

  function nested(depth: number): Data {
    let value: Data = {};
    for (let level = 1; level < depth; level++) value = { a: value };
    return value;
  }
});

describe('a failure of the core', () => {
  test.each<[ErrorCode, string, Data]>([
    ['invalid_request', 'InvalidRequestError', { path: 'input.messages' }],
    ['unsupported_parameter', 'InvalidRequestError', { path: 'input.messages' }],
    ['context_length_exceeded', 'InvalidRequestError', { path: 'input.messages' }],
    ['capability_missing', 'CapabilityMissingError', { path: 'input.messages' }],
    ['model_not_found', 'ModelNotFoundError', { path: 'input.messages' }],
    ['not_permitted', 'NotPermittedError', { path: 'input.messages' }],
    ['invalid_api_key', 'NotAuthenticatedError', {}],
    ['rate_limited', 'RateLimitedError', {}],
    ['request_too_large', 'RateLimitedError', {}],
    ['upstream_unavailable', 'UpstreamUnavailableError', { retryAfterMs: 2000 }],
    ['upstream_busy', 'UpstreamUnavailableError', { retryAfterMs: 2000 }],
    ['upstream_timeout', 'UpstreamFailedError', {}],
    ['upstream_failed', 'UpstreamFailedError', {}],
    ['upstream_incomplete', 'UpstreamFailedError', {}],
    ['upstream_invalid_output', 'UpstreamFailedError', {}],
    ['storage_unavailable', 'GatewayUnavailableError', { retryAfterMs: 2000 }],
    ['shutting_down', 'GatewayUnavailableError', { retryAfterMs: 2000 }],
  ])('%s is the result %s', async (code, __typename, fields) => {
    harness.fake.script = async function* () {
      yield* [];
      throw new GatewayError(code, 'said', { param: 'messages', retryAfterMs: 2000 });
    };
    const { retryable } = new GatewayError(code, '');
    expect(await create(INPUT)).toEqual({
      ...{ __typename, code: code.toUpperCase(), message: 'said', retryable },
      ...fields,
    });
  });

  test('that nobody expects stays an exception, for the server to mask', async () => {
    const bug = new TypeError('broken');
    for (const thrown of [bug, new GatewayError('internal', 'Failed.')]) {
      harness.fake.script = async function* () {
        yield* [];
        throw thrown;
      };
      const { errors } = await harness.execute(CREATE, { input: INPUT });
      expect(errors?.[0]?.originalError).toBe(thrown);
      expect(errors?.[0]?.extensions).toEqual({});
    }
  });
});
