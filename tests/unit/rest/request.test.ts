import { describe, expect, test } from '@jest/globals';
import type { ChatRequest } from '../../../src/domain/chat.ts';
import { chatCompletionRequest } from '../../../src/rest/openai/parameters.ts';
import { decodeChat, decodeCompletion, decodeEmbedding } from '../../../src/rest/openai/request.ts';
import { faultOf } from '../../support/fault.ts';

const MESSAGES = [{ role: 'user', content: 'hi' }];
const TOOL = { type: 'function', function: { name: 'f', parameters: { type: 'object' } } };
const CALL = { id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } };

const chat = (over: object) => decodeChat({ model: 'm', messages: MESSAGES, ...over });

describe('a chat request', () => {
  test('without options leaves everything to the model', () => {
    expect(chat({})).toEqual({
      request: {
        kind: 'chat',
        model: 'm',
        messages: [{ role: 'user', content: [{ type: 'text', text: 'hi' }] }],
        tools: [],
        toolChoice: { type: 'none' },
        parallelToolCalls: true,
        responseFormat: { type: 'text' },
        sampling: {},
        choices: 1,
      },
      stream: false,
      includeUsage: false,
      warnings: [],
    });
  });

  test('with null for every optional parameter is the same as without them', () => {
    const names = [
      'max_completion_tokens max_tokens temperature top_p frequency_penalty presence_penalty seed stop top_k min_p',
      'n stream stream_options keep_alive logprobs top_logprobs tools tool_choice parallel_tool_calls',
      'response_format reasoning_effort user metadata service_tier safety_identifier prompt_cache_key',
      'prompt_cache_retention prompt_cache_options verbosity prediction modalities functions function_call',
      'logit_bias audio web_search_options moderation store',
    ].flatMap((line) => line.split(' '));
    expect(chat(Object.fromEntries(names.map((name) => [name, null])))).toEqual(chat({}));
  });

  const honoured: [string, object, Partial<ChatRequest>][] = [
    ['max_tokens', { max_tokens: 5 }, { sampling: { maxOutputTokens: 5 } }],
    [
      'max_completion_tokens first',
      { max_tokens: 5, max_completion_tokens: 9 },
      { sampling: { maxOutputTokens: 9 } },
    ],
    ['temperature 0', { temperature: 0 }, { sampling: { temperature: 0 } }],
    [
      'sampling',
      { top_p: 0.5, top_k: 3, min_p: 0.1, frequency_penalty: 1, presence_penalty: -1, seed: 0 },
      { sampling: { topP: 0.5, topK: 3, minP: 0.1, frequencyPenalty: 1, presencePenalty: -1, seed: 0 } },
    ],
    ['one stop', { stop: 'x' }, { sampling: { stop: ['x'] } }],
    ['several stops', { stop: ['x', 'y'] }, { sampling: { stop: ['x', 'y'] } }],
    [
      'as many stops as a template has',
      { stop: Array(32).fill('x') },
      { sampling: { stop: Array(32).fill('x') } },
    ],
    ['n', { n: 3 }, { choices: 3 }],
    ['logprobs', { logprobs: true }, { logprobs: { top: 0 } }],
    ['top_logprobs', { logprobs: true, top_logprobs: 4 }, { logprobs: { top: 4 } }],
    ['reasoning_effort', { reasoning_effort: 'high' }, { reasoningEffort: 'high' }],
    ['keep_alive', { keep_alive: '1h30m' }, { keepAlive: 5400 }],
    ['keep_alive in parts', { keep_alive: '-1.5m500ms' }, { keepAlive: -90.5 }],
    ['keep_alive for ever', { keep_alive: -1 }, { keepAlive: -1 }],
    ['json_object', { response_format: { type: 'json_object' } }, { responseFormat: { type: 'json' } }],
    [
      'json_schema',
      {
        response_format: {
          type: 'json_schema',
          json_schema: { name: 's', schema: { type: 'object' }, strict: true },
        },
      },
      { responseFormat: { type: 'jsonSchema', name: 's', schema: { type: 'object' } } },
    ],
    [
      'json_schema without one',
      { response_format: { type: 'json_schema', json_schema: { name: 's' } } },
      { responseFormat: { type: 'json' } },
    ],
    [
      'tools',
      { tools: [TOOL] },
      { tools: [{ name: 'f', parameters: { type: 'object' } }], toolChoice: { type: 'auto' } },
    ],
    ['tool_choice none', { tools: [TOOL], tool_choice: 'none' }, { toolChoice: { type: 'none' } }],
    [
      'tool_choice required',
      { tools: [TOOL], tool_choice: 'required' },
      { toolChoice: { type: 'required' } },
    ],
    [
      'a named tool',
      { tools: [TOOL], tool_choice: { type: 'function', function: { name: 'f' } } },
      { toolChoice: { type: 'tool', name: 'f' } },
    ],
    [
      'allowed tools',
      {
        tools: [TOOL, { type: 'function', function: { name: 'g' } }],
        tool_choice: {
          type: 'allowed_tools',
          allowed_tools: { mode: 'required', tools: [{ type: 'function', function: { name: 'g' } }] },
        },
      },
      { tools: [{ name: 'g' }], toolChoice: { type: 'required' } },
    ],
    ['parallel_tool_calls', { parallel_tool_calls: false }, { parallelToolCalls: false }],
    [
      'harmless ones',
      {
        user: 'u',
        metadata: { a: 'b' },
        store: false,
        service_tier: 'auto',
        safety_identifier: 's',
        prompt_cache_key: 'k',
        prediction: { type: 'content', content: 'x' },
        modalities: ['text'],
        logit_bias: {},
        unheard_of: { x: 1 },
      },
      { sampling: {} },
    ],
  ];
  test.each(honoured)('honours or accepts: %s', (_name, over, expected) => {
    expect(chat(over).request).toMatchObject(expected);
  });

  test('never fails for the value of a parameter that has no effect', () => {
    const names = Object.entries(chatCompletionRequest.shape)
      .filter(([, { description = '' }]) => description.startsWith('Without effect'))
      .map(([name]) => name);
    expect(names).toEqual(expect.arrayContaining(['user', 'metadata', 'service_tier', 'verbosity']));
    for (const value of ['flex', 7, true, ['x'], { a: 1, b: false, c: 'x'.repeat(1000) }]) {
      const { request } = chat(Object.fromEntries(names.map((name) => [name, value])));
      expect(request).toEqual(chat({}).request);
    }
  });

  test('knows no field that would lead elsewhere', () => {
    const address = 'http://169.254.169.254/';
    const fields = {
      api_base: address,
      base_url: address,
      endpoint: address,
      proxy: address,
      options: { x: 1 },
    };
    expect(chat(fields)).toEqual(chat({}));
  });

  const refused: [string, object, string, string][] = [
    [
      'a choice of another kind',
      { tools: [TOOL], tool_choice: { type: 'custom', custom: { name: 'x' } } },
      'tool_choice.type',
      'invalid_value',
    ],
    ['no model', { model: undefined }, 'model', 'missing_required_parameter'],
    ['model null', { model: null }, 'model', 'invalid_type'],
    ['no messages', { messages: undefined }, 'messages', 'missing_required_parameter'],
    ['empty messages', { messages: [] }, 'messages', 'empty_array'],
    ['messages text', { messages: 'hi' }, 'messages', 'invalid_type'],
    ['unknown role', { messages: [{ role: 'robot', content: 'x' }] }, 'messages[0].role', 'invalid_value'],
    [
      'function role',
      { messages: [{ role: 'function', name: 'f', content: 'x' }] },
      'messages[0].role',
      'invalid_value',
    ],
    ['no content', { messages: [{ role: 'user' }] }, 'messages[0].content', 'missing_required_parameter'],
    ['content number', { messages: [{ role: 'user', content: 5 }] }, 'messages[0].content', 'invalid_type'],
    [
      'part without text',
      { messages: [{ role: 'user', content: [{ type: 'text' }] }] },
      'messages[0].content[0].text',
      'missing_required_parameter',
    ],
    [
      'audio part',
      { messages: [{ role: 'user', content: [{ type: 'input_audio' }] }] },
      'messages[0].content[0].type',
      'invalid_value',
    ],
    [
      'file part',
      { messages: [{ role: 'user', content: [{ type: 'file' }] }] },
      'messages[0].content[0].type',
      'invalid_value',
    ],
    [
      'assistant says nothing',
      { messages: [{ role: 'assistant' }] },
      'messages[0].content',
      'missing_required_parameter',
    ],
    [
      'assistant function_call',
      { messages: [{ role: 'assistant', content: 'x', function_call: {} }] },
      'messages[0].function_call',
      'unsupported_parameter',
    ],
    [
      'an image of a tool',
      {
        messages: [
          {
            role: 'tool',
            tool_call_id: 'x',
            content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,aGk=' } }],
          },
        ],
      },
      'messages[0].content[0].type',
      'invalid_value',
    ],
    [
      'unknown tool call',
      { messages: [{ role: 'tool', tool_call_id: 'x', content: '' }] },
      'messages[0].tool_call_id',
      'invalid_value',
    ],
    ['temperature text', { temperature: '1' }, 'temperature', 'invalid_type'],
    ['temperature high', { temperature: 2.1 }, 'temperature', 'decimal_above_max_value'],
    ['temperature infinite', { temperature: Number.POSITIVE_INFINITY }, 'temperature', 'invalid_type'],
    ['max_tokens 0', { max_tokens: 0 }, 'max_tokens', 'integer_below_min_value'],
    [
      'max_completion_tokens -1',
      { max_completion_tokens: -1 },
      'max_completion_tokens',
      'integer_below_min_value',
    ],
    ['max_tokens 1.5', { max_tokens: 1.5 }, 'max_tokens', 'invalid_type'],
    ['n 0', { n: 0 }, 'n', 'integer_below_min_value'],
    ['n 129', { n: 129 }, 'n', 'integer_above_max_value'],
    ['33 stops', { stop: Array(33).fill('x') }, 'stop', 'array_above_max_length'],
    ['top_logprobs alone', { top_logprobs: 1 }, 'top_logprobs', 'invalid_value'],
    ['stream_options alone', { stream_options: { include_usage: true } }, 'stream_options', 'invalid_value'],
    ['audio', { audio: { voice: 'x' } }, 'audio', 'unsupported_parameter'],
    ['modalities', { modalities: ['text', 'audio'] }, 'modalities[1]', 'invalid_value'],
    ['logit_bias', { logit_bias: { 5: 1 } }, 'logit_bias', 'unsupported_parameter'],
    ['web_search_options', { web_search_options: {} }, 'web_search_options', 'unsupported_parameter'],
    ['store', { store: true }, 'store', 'unsupported_parameter'],
    ['functions', { functions: [] }, 'functions', 'unsupported_parameter'],
    ['function_call', { function_call: 'auto' }, 'function_call', 'unsupported_parameter'],
    ['custom tool', { tools: [{ type: 'custom', custom: { name: 'x' } }] }, 'tools[0].type', 'invalid_value'],
    [
      'tool name',
      { tools: [{ type: 'function', function: { name: 'a b' } }] },
      'tools[0].function.name',
      'invalid_value',
    ],
    ['tool_choice without tools', { tool_choice: 'required' }, 'tool_choice', 'invalid_value'],
    [
      'tool_choice unknown',
      { tools: [TOOL], tool_choice: { type: 'function', function: { name: 'g' } } },
      'tool_choice.function.name',
      'invalid_value',
    ],
    ['response_format', { response_format: { type: 'xml' } }, 'response_format.type', 'invalid_value'],
    ['reasoning_effort', { reasoning_effort: 'a lot' }, 'reasoning_effort', 'invalid_value'],
    ['keep_alive', { keep_alive: 'forever' }, 'keep_alive', 'invalid_value'],
  ];
  test.each(refused)('refuses and names: %s', (_name, over, param, code) => {
    expect(faultOf(() => chat(over))).toEqual([param, code]);
  });
});

describe('messages', () => {
  const decode = (...messages: unknown[]) => chat({ messages }).request.messages;

  test('developer is system, text parts stay parts, a name is accepted', () => {
    const parts = [
      { type: 'text', text: 'a' },
      { type: 'text', text: 'b' },
    ];
    expect(decode({ role: 'developer', content: parts, name: 'x' })).toEqual([
      { role: 'system', content: parts },
    ]);
  });

  test('a round of tools keeps ids, arguments and both names of the reasoning', () => {
    const result = { role: 'tool', tool_call_id: 'call_1', content: 'sunny' };
    for (const name of ['reasoning', 'reasoning_content']) {
      expect(decode({ role: 'assistant', content: null, tool_calls: [CALL], [name]: 'why' }, result)).toEqual(
        [
          {
            role: 'assistant',
            content: [],
            reasoning: 'why',
            toolCalls: [{ id: 'call_1', name: 'f', arguments: '{"a":1}' }],
          },
          { role: 'tool', toolCallId: 'call_1', content: [{ type: 'text', text: 'sunny' }] },
        ],
      );
    }
  });

  test.each(['[]', '{"a":', ''])(
    'arguments are brought back as they are, also where they broke off: %j',
    (text) => {
      const call = { ...CALL, function: { name: 'f', arguments: text } };
      expect(decode({ role: 'assistant', tool_calls: [call] })).toMatchObject([
        { toolCalls: [{ name: 'f', arguments: text }] },
      ]);
    },
  );

  test('an image is its bytes', () => {
    const image = { type: 'image_url', image_url: { url: 'data:image/PNG;base64,aGk=', detail: 'low' } };
    expect(decode({ role: 'user', content: [image] })).toEqual([
      { role: 'user', content: [{ type: 'image', base64: 'aGk=', mediaType: 'image/png' }] },
    ]);
  });

  test.each([
    ['http://169.254.169.254/x.png', 'unsupported_value'],
    ['https://example.com/x.png', 'unsupported_value'],
    ['file:///etc/passwd', 'invalid_value'],
    ['data:text/html;base64,aGk=', 'invalid_value'],
    ['data:image/png;base64,', 'invalid_value'],
    ['data:image/png;base64,a b', 'invalid_value'],
    ['data:image/png,raw', 'invalid_value'],
  ])('no image is fetched or guessed: %s', (url, code) => {
    const content = [
      { type: 'text', text: 'look' },
      { type: 'image_url', image_url: { url } },
    ];
    expect(faultOf(() => decode({ role: 'user', content }))).toEqual([
      'messages[0].content[1].image_url.url',
      code,
    ]);
  });

  test('no error message quotes what the caller wrote', () => {
    for (const bad of [
      { messages: [{ role: 'canary-7f', content: 'canary-7f' }] },
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'canary-7f' } }] }] },
      { response_format: { type: 'canary-7f' } },
      { tool_choice: 'canary-7f', tools: [TOOL] },
      { keep_alive: 'canary-7f' },
    ]) {
      expect(() => chat(bad)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('canary') }),
      );
    }
  });
});

describe('a completion request', () => {
  const completion = (over: object) => decodeCompletion({ model: 'm', prompt: 'p', ...over });

  test('is one chat per prompt, of 16 tokens unless told', () => {
    const { requests, echoes } = completion({ prompt: ['a', 'b'], n: 2, logprobs: 3 });
    expect(requests.map(({ messages }) => messages)).toEqual([
      [{ role: 'user', content: [{ type: 'text', text: 'a' }] }],
      [{ role: 'user', content: [{ type: 'text', text: 'b' }] }],
    ]);
    expect(requests[0]).toMatchObject({
      choices: 2,
      sampling: { maxOutputTokens: 16 },
      logprobs: { top: 3 },
    });
    expect(echoes).toEqual(['', '']);
    expect(completion({ echo: true }).echoes).toEqual(['p']);
  });

  test('is answered without reasoning, for which its format has no place', () => {
    const { requests } = completion({ prompt: ['a', 'b'] });
    const { requests: gaps } = completion({ suffix: 'after' });
    expect([...requests, ...gaps].map(({ reasoningEffort }) => reasoningEffort)).toEqual(
      Array(3).fill('none'),
    );
  });

  test('has a gap where there is something after it', () => {
    const suffixes = (over: object) => completion(over).requests.map(({ suffix }) => suffix);
    expect(suffixes({ suffix: 'after', prompt: ['a', 'b'] })).toEqual(['after', 'after']);
    expect([...suffixes({ suffix: '' }), ...suffixes({ suffix: null, prompt: '' })]).toEqual([
      undefined,
      undefined,
    ]);
  });

  test.each([
    [{ prompt: undefined }, 'prompt', 'missing_required_parameter'],
    [{ prompt: [] }, 'prompt', 'empty_array'],
    [{ prompt: [1, 2] }, 'prompt', 'unsupported_value'],
    [{ prompt: [[1], [2]] }, 'prompt', 'unsupported_value'],
    [{ suffix: 'x', prompt: ['a', ''] }, 'prompt', 'invalid_value'],
    [{ suffix: 1 }, 'suffix', 'invalid_type'],
    [{ best_of: 2 }, 'best_of', 'unsupported_parameter'],
    [{ logit_bias: { 1: 1 } }, 'logit_bias', 'unsupported_parameter'],
    [{ logprobs: 6 }, 'logprobs', 'integer_above_max_value'],
    [{ echo: true, logprobs: 1 }, 'logprobs', 'unsupported_parameter'],
    [{ prompt: ['a', 'b'], n: 100 }, 'n', 'integer_above_max_value'],
    [{ max_tokens: 0 }, 'max_tokens', 'integer_below_min_value'],
  ])('refuses %j', (over, param, code) => {
    expect(faultOf(() => completion(over))).toEqual([param, code]);
  });
});

describe('an embedding request', () => {
  const embedding = (over: object) => decodeEmbedding({ model: 'm', input: 'x', ...over });

  test('takes one text or many, and numbers unless told', () => {
    expect(embedding({})).toEqual({
      request: { kind: 'embedding', model: 'm', inputs: ['x'] },
      encoding: 'float',
    });
    expect(embedding({ input: ['a', 'b'], dimensions: 3, encoding_format: 'base64' })).toEqual({
      request: { kind: 'embedding', model: 'm', inputs: ['a', 'b'], dimensions: 3 },
      encoding: 'base64',
    });
  });

  test('of tokens is refused with the way to send text instead', () => {
    expect(() => embedding({ input: [[1, 2], [3]] })).toThrow(/check_embedding_ctx_length=False/);
  });

  test.each([
    [{ input: undefined }, 'input', 'missing_required_parameter'],
    [{ input: '' }, 'input', 'empty_string'],
    [{ input: [] }, 'input', 'empty_array'],
    [{ input: ['a', ''] }, 'input[1]', 'empty_string'],
    [{ input: [1, 2, 3] }, 'input', 'unsupported_value'],
    [{ input: Array(2049).fill('a') }, 'input', 'array_above_max_length'],
    [{ dimensions: 0 }, 'dimensions', 'integer_below_min_value'],
    [{ encoding_format: 'int8' }, 'encoding_format', 'invalid_value'],
  ])('refuses %#', (over, param, code) => {
    expect(faultOf(() => embedding(over))).toEqual([param, code]);
  });
});
