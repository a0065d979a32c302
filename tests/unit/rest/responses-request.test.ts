import { describe, expect, test } from '@jest/globals';
import type { ChatRequest } from '../../../src/domain/chat.ts';
import { responseRequest } from '../../../src/rest/openai/responses/parameters.ts';
import { decodeResponse } from '../../../src/rest/openai/responses/request.ts';
import { faultOf } from '../../support/fault.ts';

const TOOL = { type: 'function', name: 'f', parameters: { type: 'object' } };
const response = (over: object) => decodeResponse({ model: 'm', input: 'hi', ...over });
const text = (said: string) => [{ type: 'text', text: said }];

describe('a response request', () => {
  test('without options leaves everything to the model', () => {
    expect(response({})).toMatchObject({
      request: {
        kind: 'chat',
        model: 'm',
        messages: [{ role: 'user', content: text('hi') }],
        tools: [],
        toolChoice: { type: 'none' },
        parallelToolCalls: true,
        responseFormat: { type: 'text' },
        sampling: {},
        choices: 1,
      },
      stream: false,
      thoughts: 'content',
      warnings: [],
    });
    expect(response({}).request).not.toHaveProperty('logprobs');
  });

  test('with null for every optional parameter is the same as without them', () => {
    const names = [
      'instructions max_output_tokens temperature top_p frequency_penalty presence_penalty seed stop top_k min_p',
      'stream stream_options text reasoning tools tool_choice parallel_tool_calls top_logprobs include metadata',
      'keep_alive user service_tier safety_identifier prompt_cache_key prompt_cache_retention store truncation',
      'max_tool_calls previous_response_id conversation background prompt context_management moderation',
    ].flatMap((line) => line.split(' '));
    expect(response(Object.fromEntries(names.map((name) => [name, null])))).toEqual(response({}));
  });

  const honoured: [string, object, Partial<ChatRequest>][] = [
    ['max_output_tokens', { max_output_tokens: 5 }, { sampling: { maxOutputTokens: 5 } }],
    [
      'sampling',
      { temperature: 0, top_p: 0.5, top_k: 3 },
      { sampling: { temperature: 0, topP: 0.5, topK: 3 } },
    ],
    ['log probabilities', { include: ['message.output_text.logprobs'] }, { logprobs: { top: 0 } }],
    ['top_logprobs', { top_logprobs: 4 }, { logprobs: { top: 4 } }],
    ['the effort', { reasoning: { effort: 'high' } }, { reasoningEffort: 'high' }],
    ['json_object', { text: { format: { type: 'json_object' } } }, { responseFormat: { type: 'json' } }],
    [
      'json_schema',
      { text: { format: { type: 'json_schema', name: 's', schema: { type: 'object' }, strict: true } } },
      { responseFormat: { type: 'jsonSchema', name: 's', schema: { type: 'object' } } },
    ],
    [
      'tools',
      { tools: [TOOL] },
      { tools: [{ name: 'f', parameters: { type: 'object' } }], toolChoice: { type: 'auto' } },
    ],
    ['tool_choice none', { tools: [TOOL], tool_choice: 'none' }, { toolChoice: { type: 'none' } }],
    [
      'a named tool',
      { tools: [TOOL], tool_choice: { type: 'function', name: 'f' } },
      { toolChoice: { type: 'tool', name: 'f' } },
    ],
    [
      'allowed tools',
      {
        tools: [TOOL, { type: 'function', name: 'g' }],
        tool_choice: { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'g' }] },
      },
      { tools: [{ name: 'g' }], toolChoice: { type: 'required' } },
    ],
    ['parallel_tool_calls', { parallel_tool_calls: false }, { parallelToolCalls: false }],
    ['keep_alive', { keep_alive: '5m' }, { keepAlive: 300 }],
    [
      'instructions',
      { instructions: 'Be brief.' },
      {
        messages: [
          { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
          { role: 'user', content: [{ type: 'text', text: 'hi' }] },
        ],
      },
    ],
  ];
  test.each(honoured)('honours: %s', (_name, over, expected) => {
    expect(response(over).request).toMatchObject(expected);
  });

  test('never fails for the value of a parameter that has no effect', () => {
    const names = Object.entries(responseRequest.shape)
      .filter(([, { description = '' }]) => description.startsWith('Without effect'))
      .map(([name]) => name);
    expect(names).toEqual(expect.arrayContaining(['user', 'store', 'truncation', 'max_tool_calls']));
    for (const value of ['flex', 7, true, ['x'], { a: 1 }]) {
      const { request } = response(Object.fromEntries(names.map((name) => [name, value])));
      expect(request).toEqual(response({}).request);
    }
  });

  test('says of what has no effect that it has none', () => {
    const { warnings } = response({
      store: true,
      truncation: 'auto',
      text: { verbosity: 'low' },
      tools: [TOOL, { type: 'web_search' }],
    });
    for (const name of ['store', 'truncation', 'text.verbosity', 'tools']) {
      expect(warnings.filter((warning) => warning.includes(`'${name}'`))).toHaveLength(1);
    }
    const harmless = { store: false, truncation: 'disabled', text: { verbosity: 'medium' }, tools: [TOOL] };
    expect(response(harmless).warnings).toEqual([]);
  });

  test('of functions and other tools leaves the functions', () => {
    const { request, echo } = response({
      tools: [{ type: 'web_search' }, TOOL, { type: 'namespace', name: 'n' }],
    });
    expect(request.tools).toEqual([{ name: 'f', parameters: { type: 'object' } }]);
    expect(echo.tools).toMatchObject([{ type: 'function', name: 'f', description: null, strict: null }]);
  });

  test.each(['summary', 'generate_summary'])('asks for thoughts in place of a summary by %s', (name) => {
    expect(response({ reasoning: { [name]: 'auto' } }).thoughts).toBe('summary');
  });

  const refused: [string, object, string, string][] = [
    ['no model', { model: undefined }, 'model', 'missing_required_parameter'],
    ['no input', { input: undefined }, 'input', 'missing_required_parameter'],
    ['empty input', { input: [] }, 'input', 'empty_array'],
    ['an empty text', { input: '' }, 'input', 'empty_string'],
    ['input that is a number', { input: 5 }, 'input', 'invalid_type'],
    ['an unknown role', { input: [{ role: 'robot', content: 'x' }] }, 'input[0].role', 'invalid_value'],
    ['an unknown item', { input: [{ type: 'web_search_call', id: 'x' }] }, 'input[0].type', 'invalid_value'],
    ['a stored item', { input: [{ type: 'item_reference', id: 'x' }] }, 'input[0].type', 'unsupported_value'],
    ['thoughts alone', { input: [{ type: 'reasoning', summary: [] }] }, 'input', 'invalid_value'],
    [
      'a file',
      { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'x' }] }] },
      'input[0].content[0].type',
      'invalid_value',
    ],
    [
      'an image that is a file',
      { input: [{ role: 'user', content: [{ type: 'input_image', file_id: 'x' }] }] },
      'input[0].content[0].image_url',
      'missing_required_parameter',
    ],
    [
      'an image that is elsewhere',
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'http://169.254.169.254/' }] }] },
      'input[0].content[0].image_url',
      'unsupported_value',
    ],
    [
      'an image of a function that is elsewhere',
      {
        input: [
          { type: 'function_call', call_id: 'x', name: 'f', arguments: '{}' },
          {
            type: 'function_call_output',
            call_id: 'x',
            output: [{ type: 'input_image', image_url: 'http://169.254.169.254/' }],
          },
        ],
      },
      'input[1].output[0].image_url',
      'unsupported_value',
    ],
    [
      'an image of the assistant',
      {
        input: [
          { role: 'assistant', content: [{ type: 'input_image', image_url: 'data:image/png;base64,aGk=' }] },
        ],
      },
      'input[0].content[0].type',
      'unsupported_value',
    ],
    [
      'a result of no call',
      { input: [{ type: 'function_call_output', call_id: 'x', output: '' }] },
      'input[0].call_id',
      'invalid_value',
    ],
    ['max_output_tokens 0', { max_output_tokens: 0 }, 'max_output_tokens', 'integer_below_min_value'],
    ['a format', { text: { format: { type: 'xml' } } }, 'text.format.type', 'invalid_value'],
    [
      'a schema that is not there',
      { text: { format: { type: 'json_schema', name: 's' } } },
      'text.format.schema',
      'missing_required_parameter',
    ],
    ['an effort', { reasoning: { effort: 'a lot' } }, 'reasoning.effort', 'invalid_value'],
    ['metadata', { metadata: { a: 1 } }, 'metadata.a', 'invalid_type'],
    [
      'a tool without a name',
      { tools: [{ type: 'function' }] },
      'tools[0].name',
      'missing_required_parameter',
    ],
    ['a tool’s name', { tools: [{ type: 'function', name: 'a b' }] }, 'tools[0].name', 'invalid_value'],
    ['a tool that is a text', { tools: ['f'] }, 'tools[0]', 'invalid_type'],
    ['tools of other kinds alone', { tools: [{ type: 'web_search' }] }, 'tools[0].type', 'unsupported_value'],
    ['a choice without tools', { tool_choice: 'required' }, 'tool_choice', 'invalid_value'],
    [
      'a choice of no tool',
      { tools: [TOOL], tool_choice: { type: 'function', name: 'g' } },
      'tool_choice.name',
      'invalid_value',
    ],
    [
      'a choice of another kind',
      { tools: [TOOL], tool_choice: { type: 'web_search' } },
      'tool_choice.type',
      'invalid_value',
    ],
    [
      'previous_response_id',
      { previous_response_id: 'resp_1' },
      'previous_response_id',
      'unsupported_parameter',
    ],
    ['conversation', { conversation: 'conv_1' }, 'conversation', 'unsupported_parameter'],
    ['background', { background: true }, 'background', 'unsupported_parameter'],
    ['prompt', { prompt: { id: 'x' } }, 'prompt', 'unsupported_parameter'],
  ];
  test.each(refused)('refuses and names: %s', (_name, over, param, code) => {
    expect(faultOf(() => response(over))).toEqual([param, code]);
  });

  test('is told nothing of what it said', () => {
    for (const bad of [
      { input: [{ role: 'canary-7f', content: 'canary-7f' }] },
      { input: [{ type: 'canary-7f' }] },
      { input: [{ type: 'item_reference', id: 'canary-7f' }] },
      { input: [{ type: 'function_call_output', call_id: 'canary-7f', output: 'canary-7f' }] },
      { tools: [{ type: 'canary-7f' }] },
    ]) {
      expect(() => response(bad)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('canary') }),
      );
    }
  });
});

describe('items', () => {
  const decode = (...input: unknown[]) => response({ input }).request.messages;
  const call = (id: string) => ({ type: 'function_call', call_id: id, name: 'f', arguments: '{"a":1}' });
  const result = (id: string) => ({ type: 'function_call_output', call_id: id, output: 'sunny' });
  const called = (id: string) => ({ id, name: 'f', arguments: '{"a":1}' });
  const thought = (said: string) => ({
    type: 'reasoning',
    id: 'rs_1',
    summary: [],
    content: [{ type: 'reasoning_text', text: said }],
  });

  test('that are messages keep their roles and parts, whoever made the parts', () => {
    expect(
      decode(
        { role: 'developer', content: 'a' },
        { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'b' }] },
        {
          type: 'message',
          id: 'msg_1',
          status: 'completed',
          role: 'assistant',
          content: [
            { type: 'output_text', text: 'c', annotations: [], logprobs: [] },
            { type: 'refusal', refusal: 'd' },
          ],
        },
        {
          role: 'user',
          content: [{ type: 'input_image', image_url: 'data:image/png;base64,aGk=', detail: 'low' }],
        },
      ),
    ).toEqual([
      { role: 'system', content: text('a') },
      { role: 'user', content: text('b') },
      { role: 'assistant', content: [...text('c'), ...text('d')], toolCalls: [] },
      { role: 'user', content: [{ type: 'image', base64: 'aGk=', mediaType: 'image/png' }] },
    ]);
  });

  test('of one turn become one message: thoughts, words and calls', () => {
    const said = { role: 'assistant', content: 'Let me see.' };
    expect(decode(thought('hm'), said, call('1'), call('2'), result('1'), result('2'))).toEqual([
      {
        role: 'assistant',
        reasoning: 'hm',
        content: text('Let me see.'),
        toolCalls: [called('1'), called('2')],
      },
      { role: 'tool', toolCallId: '1', content: text('sunny') },
      { role: 'tool', toolCallId: '2', content: text('sunny') },
    ]);
  });

  test('of the next turn begin a message of their own', () => {
    expect(decode(call('1'), thought('so'), call('2'), { role: 'assistant', content: 'Done.' })).toEqual([
      { role: 'assistant', content: [], toolCalls: [called('1')] },
      { role: 'assistant', reasoning: 'so', content: [], toolCalls: [called('2')] },
      { role: 'assistant', content: text('Done.'), toolCalls: [] },
    ]);
  });

  test('that are thoughts are taken from the summary where nothing else is there', () => {
    const summary = [
      { type: 'summary_text', text: 'one' },
      { type: 'summary_text', text: 'two' },
    ];
    expect(decode({ type: 'reasoning', summary, encrypted_content: 'x' }, call('1'))).toMatchObject([
      { reasoning: 'one\n\ntwo' },
    ]);
    const content = [{ type: 'reasoning_text', text: 'all' }];
    expect(decode({ type: 'reasoning', summary, content }, call('1'))).toMatchObject([{ reasoning: 'all' }]);
  });

  test('that are thoughts which came to nothing are left out', () => {
    expect(decode(thought('hm'), { role: 'user', content: 'x' })).toEqual([
      { role: 'user', content: text('x') },
    ]);
  });

  test('that are results may come in parts', () => {
    const output = [{ type: 'input_text', text: 'sunny' }];
    expect(decode(call('1'), { type: 'function_call_output', call_id: '1', output })[1]).toEqual({
      role: 'tool',
      toolCallId: '1',
      content: text('sunny'),
    });
  });

  test('that are results may show images, as users may', () => {
    const output = [
      { type: 'input_text', text: 'Here it is.' },
      { type: 'input_image', image_url: 'data:image/png;base64,aGk=', detail: 'auto' },
    ];
    expect(decode(call('1'), { type: 'function_call_output', call_id: '1', output })[1]).toEqual({
      role: 'tool',
      toolCallId: '1',
      content: [...text('Here it is.'), { type: 'image', base64: 'aGk=', mediaType: 'image/png' }],
    });
  });
});
