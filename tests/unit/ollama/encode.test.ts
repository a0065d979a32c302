import { describe, expect, test } from '@jest/globals';
import type { ChatRequest, JsonObject, Message, ReasoningEffort } from '../../../src/domain/chat.ts';
import type { Model } from '../../../src/domain/model.ts';
import {
  encodeChat,
  encodeEmbedding,
  encodeInsertion,
  type Settings,
  withinStack,
} from '../../../src/providers/ollama/encode.ts';
import { chatRequest, model, user, weather } from './requests.ts';

const settings: Settings = { numCtx: new Map() };

function encode(change: Partial<ChatRequest>, known: Model | undefined = model('tools'), given = settings) {
  return encodeChat(chatRequest(change), known, given);
}

describe('messages', () => {
  test('text parts become one string, images plain base64 beside it', () => {
    const content = [
      { type: 'text', text: 'What is ' },
      { type: 'image', base64: 'AAAA', mediaType: 'image/png' },
      { type: 'text', text: 'this?' },
    ] as const;
    const { body } = encode({ messages: [{ role: 'user', content }] });
    expect(body.messages).toEqual([{ role: 'user', content: 'What is this?', images: ['AAAA'] }]);
  });

  test('a tool round trip carries the calls as objects and each result under its tool name', () => {
    const call = { id: 'call_1', name: 'weather', arguments: '{"city":"Bern"}' };
    const messages: Message[] = [
      user('Weather?'),
      { role: 'assistant', content: [], reasoning: 'I should look.', toolCalls: [call] },
      { role: 'tool', toolCallId: 'call_1', content: [{ type: 'text', text: 'sunny' }] },
    ];
    expect(encode({ messages }).body.messages.slice(1)).toEqual([
      {
        role: 'assistant',
        content: '',
        thinking: 'I should look.',
        tool_calls: [{ id: 'call_1', function: { index: 0, name: 'weather', arguments: { city: 'Bern' } } }],
      },
      { role: 'tool', content: 'sunny', tool_name: 'weather', tool_call_id: 'call_1' },
    ]);
  });

  test('images that tools return follow the results, in a message that every template shows', () => {
    const image = (base64: string) => ({ type: 'image', base64, mediaType: 'image/png' }) as const;
    const calling = (...ids: string[]): Message => ({
      role: 'assistant',
      content: [],
      toolCalls: ids.map((id) => ({ id, name: 'look', arguments: '{}' })),
    });
    const result = (
      toolCallId: string,
      ...content: Extract<Message, { role: 'tool' }>['content']
    ): Message => ({
      role: 'tool',
      toolCallId,
      content,
    });
    const { body } = encode({
      messages: [
        calling('1', '2', '3'),
        result('1', { type: 'text', text: 'Here.' }, image('AAAA'), image('BBBB')),
        result('2', { type: 'text', text: 'Nothing.' }),
        result('3', image('CCCC')),
        calling('4'),
        result('4', image('DDDD')),
        user('Which is it?'),
      ],
    });
    const sent = body.messages.map(({ role, content, images }) => [role, content, images]);
    const brought = 'The tools returned these images.';
    expect(sent).toEqual([
      ['assistant', '', undefined],
      ['tool', 'Here.', undefined],
      ['tool', 'Nothing.', undefined],
      ['tool', '', undefined],
      ['user', brought, ['AAAA', 'BBBB', 'CCCC']],
      ['assistant', '', undefined],
      ['tool', '', undefined],
      ['user', brought, ['DDDD']],
      ['user', 'Which is it?', undefined],
    ]);
  });

  test('where an id was used twice, a result belongs to the latest call before it', () => {
    const calling = (name: string): Message => ({
      role: 'assistant',
      content: [],
      toolCalls: [{ id: 'same', name, arguments: '{}' }],
    });
    const result: Message = { role: 'tool', toolCallId: 'same', content: [] };
    const { body } = encode({ messages: [calling('first'), result, calling('second'), result] });
    expect(body.messages.map((message) => message.tool_name)).toEqual([
      undefined,
      'first',
      undefined,
      'second',
    ]);
  });

  test('each message is looked at once, however many results a conversation has', () => {
    let looks = 0;
    const toolCalls = [{ id: 'other', name: 'weather', arguments: '{}' }];
    const calling: Message = {
      role: 'assistant',
      content: [],
      get toolCalls() {
        looks++;
        return toolCalls;
      },
    };
    const result: Message = { role: 'tool', toolCallId: 'missing', content: [] };
    encode({ messages: [...Array(100).fill(calling), ...Array(100).fill(result)] });
    expect(looks).toBeLessThan(1000);
  });

  test.each(['{"city":', '[]', '"text"', 'null'])(
    'arguments that Ollama would refuse are left out, with a warning that does not quote them: %j',
    (text) => {
      const toolCalls = [
        { id: 'a', name: 'weather', arguments: '{"city":"Bern"}' },
        { id: 'b', name: 'weather', arguments: text },
      ];
      const messages: Message[] = [user('x'), { role: 'assistant', content: [], toolCalls }];
      const { body, warnings } = encode({ messages });
      const sent = body.messages[1]?.tool_calls?.map((call) => call.function.arguments);
      expect(sent).toEqual([{ city: 'Bern' }, {}]);
      expect(warnings).toEqual([
        'The arguments of a tool call in messages[1] are no JSON object and were left out.',
      ]);
    },
  );

  test.each(['', ' '])('no arguments are no arguments: %j', (text) => {
    const toolCalls = [{ id: 'a', name: 'weather', arguments: text }];
    const { body, warnings } = encode({ messages: [{ role: 'assistant', content: [], toolCalls }] });
    expect([body.messages[0]?.tool_calls?.[0]?.function.arguments, warnings]).toEqual([{}, []]);
  });

  test('names of the prototype travel as plain arguments', () => {
    const call = { id: 'a', name: 'f', arguments: '{"__proto__":{"x":1},"constructor":2}' };
    const { body } = encode({ messages: [{ role: 'assistant', content: [], toolCalls: [call] }] });
    expect(JSON.stringify(body)).toContain('{"__proto__":{"x":1},"constructor":2}');
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });
});

describe('options', () => {
  test('every sampling value goes by its name on the wire', () => {
    const sampling = {
      maxOutputTokens: 7,
      temperature: 0,
      topP: 0.5,
      topK: 3,
      minP: 0.1,
      frequencyPenalty: -1,
      presencePenalty: 1,
      seed: 0,
      stop: ['END'],
    };
    expect(encode({ sampling }).body.options).toEqual({
      num_predict: 7,
      temperature: 0,
      top_p: 0.5,
      top_k: 3,
      min_p: 0.1,
      frequency_penalty: -1,
      presence_penalty: 1,
      seed: 0,
      stop: ['END'],
    });
  });

  test('what is not asked for is not sent, so that the model keeps its own defaults', () => {
    const { body } = encode({ sampling: { stop: [] } });
    expect(Object.keys(body).sort()).toEqual(['messages', 'model', 'stream', 'truncate']);
  });

  test('a context size comes from the configuration by any spelling of the name, else from its *, else from nowhere', () => {
    const numCtx = new Map([
      ['llama3.1:8b', 8192],
      ['*', 4096],
    ]);
    expect(encode({ model: 'LLAMA3.1:8b' }, undefined, { numCtx }).body.options).toEqual({ num_ctx: 8192 });
    expect(encode({ model: 'other' }, undefined, { numCtx }).body.options).toEqual({ num_ctx: 4096 });
    expect(encode({}).body.options).toBeUndefined();
  });

  test('the request decides how long the model stays in memory, else the operator', () => {
    const fixed: Settings = { numCtx: new Map(), keepAlive: '5m' };
    for (const keepAlive of [60, 3600]) {
      const { body, warnings } = encode({ keepAlive }, undefined, fixed);
      expect([body.keep_alive, warnings]).toEqual([keepAlive, []]);
    }
    expect(encode({}, undefined, fixed).body.keep_alive).toBe('5m');
  });

  test.each([0, -1, 1e-9, 59.9, 3600.1, 1e300])(
    'no request unloads or pins the model of everybody: %d seconds have no effect, with a warning',
    (keepAlive) => {
      const fixed: Settings = { numCtx: new Map(), keepAlive: '5m' };
      const chat = encode({ keepAlive }, undefined, fixed);
      const request = { kind: 'embedding', model: 'm', inputs: ['a'], keepAlive } as const;
      for (const { body, warnings } of [chat, encodeEmbedding(request, fixed)]) {
        expect(body.keep_alive).toBe('5m');
        expect(warnings).toEqual([expect.stringContaining('60 to 3600 seconds')]);
      }
      expect(encode({ keepAlive }).body).not.toHaveProperty('keep_alive');
    },
  );

  test('a prompt that does not fit is never cut in silence, and the model is never reloaded for it', () => {
    const { body } = encode({});
    expect(body.truncate).toBe(false);
    expect(body).not.toHaveProperty('shift');
  });

  test('log probabilities are asked for with as many alternatives as wanted', () => {
    expect(encode({ logprobs: { top: 3 } }).body).toMatchObject({ logprobs: true, top_logprobs: 3 });
    expect(encode({ logprobs: { top: 0 } }).body).not.toHaveProperty('top_logprobs');
  });
});

describe('thinking', () => {
  const levels: [ReasoningEffort, unknown][] = [
    ['none', false],
    ['minimal', 'low'],
    ['low', 'low'],
    ['medium', 'medium'],
    ['high', 'high'],
    ['xhigh', 'max'],
    ['max', 'max'],
  ];
  test.each(levels)('effort %s of a model that reasons is think %j', (reasoningEffort, think) => {
    const { body, warnings } = encode({ reasoningEffort }, model('thinking'));
    expect(body.think).toBe(think);
    expect(warnings).toEqual([]);
  });

  test.each(['gptoss', 'gpt-oss'])(
    'a model of the family %s cannot stop, so it reasons as little as it can, with a warning',
    (family) => {
      const endless = { ...model('thinking'), family };
      const { body, warnings } = encode({ reasoningEffort: 'none' }, endless);
      expect([body.think, warnings]).toEqual(['low', [expect.stringContaining('cannot stop reasoning')]]);
      const high = encode({ reasoningEffort: 'high' }, endless);
      expect([high.body.think, high.warnings]).toEqual(['high', []]);
      const plain = encode({ reasoningEffort: 'none' }, { ...model(), family });
      expect([plain.body.think, plain.warnings]).toEqual([undefined, []]);
    },
  );

  test('a gap is filled without thoughts where the model has any', () => {
    const fill = (known: Model | undefined) =>
      encodeInsertion(chatRequest({ reasoningEffort: 'none' }), '}', known, settings);
    expect(fill(model('insert', 'thinking'))).toMatchObject({ body: { think: false }, warnings: [] });
    for (const plain of [model('insert'), undefined]) {
      expect(fill(plain).body).not.toHaveProperty('think');
      expect(fill(plain).warnings).toEqual([]);
    }
  });

  test('without an effort the model decides', () => {
    expect(encode({}, model('thinking')).body).not.toHaveProperty('think');
  });

  test('a model that does not reason answers with a warning, and without one where none was wanted', () => {
    for (const plain of [model(), undefined]) {
      const high = encodeChat(chatRequest({ reasoningEffort: 'high' }), plain, settings);
      expect(high.body).not.toHaveProperty('think');
      expect(high.warnings).toHaveLength(1);
      expect(encodeChat(chatRequest({ reasoningEffort: 'none' }), plain, settings).warnings).toEqual([]);
    }
  });
});

describe('formats and tools', () => {
  test('JSON mode and a schema are the two formats', () => {
    const schema: JsonObject = { type: 'object' };
    expect(encode({ responseFormat: { type: 'json' } }).body.format).toBe('json');
    expect(encode({ responseFormat: { type: 'jsonSchema', name: 'x', schema } }).body.format).toBe(schema);
  });

  test('tools are sent whole, and one without parameters with empty ones', () => {
    const { body } = encode({ tools: [weather, { name: 'now' }] });
    expect(body.tools).toEqual([
      { type: 'function', function: weather },
      { type: 'function', function: { name: 'now', parameters: { type: 'object', properties: {} } } },
    ]);
  });

  test('tool choice none sends no tools', () => {
    expect(encode({ tools: [weather], toolChoice: { type: 'none' } }).body).not.toHaveProperty('tools');
  });
});

describe('forced tools', () => {
  const now = { name: 'now' };
  const callOf = (name: string, parameters: JsonObject) => ({
    type: 'object',
    properties: { name: { const: name }, arguments: parameters },
    required: ['name', 'arguments'],
    additionalProperties: false,
  });

  test('a named tool is held to by a schema of its one call, and described instead of sent', () => {
    const { body } = encode({
      tools: [weather, now],
      toolChoice: { type: 'tool', name: 'weather' },
      messages: [{ role: 'system', content: [{ type: 'text', text: 'Be brief.' }] }, user('Bern?')],
    });
    expect(body).not.toHaveProperty('tools');
    expect(body.format).toEqual(callOf('weather', weather.parameters));
    expect(body.messages.map((message) => message.role)).toEqual(['system', 'system', 'user']);
    expect(body.messages[1]?.content).toContain('The weather of a city');
    expect(body.messages[1]?.content).not.toContain('"now"');
  });

  test('required means one call of any tool, or several where they may be parallel', () => {
    const either = { anyOf: [callOf('weather', weather.parameters), callOf('now', { type: 'object' })] };
    const tools = [weather, now];
    const toolChoice = { type: 'required' } as const;
    expect(encode({ tools, toolChoice, parallelToolCalls: false }).body.format).toEqual(either);
    expect(encode({ tools, toolChoice }).body.format).toEqual({
      type: 'object',
      properties: { calls: { type: 'array', minItems: 1, items: either } },
      required: ['calls'],
      additionalProperties: false,
    });
  });

  test('references inside the parameters still find their target', () => {
    const parameters = {
      type: 'object',
      properties: { tree: { $ref: '#/$defs/node' }, self: { $ref: '#' } },
      $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/node' } } } },
    };
    const { format } = encode({
      tools: [{ name: 'f', parameters }],
      toolChoice: { type: 'tool', name: 'f' },
    }).body;
    expect(format).toEqual({
      ...callOf('f', { $ref: '#/$defs/tool0' }),
      $defs: {
        tool0: {
          type: 'object',
          properties: { tree: { $ref: '#/$defs/tool0/$defs/node' }, self: { $ref: '#/$defs/tool0' } },
          $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/tool0/$defs/node' } } } },
        },
      },
    });
  });

  test('beside a response format, the model is held to calls or to an answer, and told of both', () => {
    const schema = { type: 'object', properties: { self: { $ref: '#' } } };
    const { body, warnings, forced } = encode({
      tools: [weather],
      parallelToolCalls: false,
      responseFormat: { type: 'jsonSchema', name: 'x', schema },
    });
    expect(body).not.toHaveProperty('tools');
    expect(body.format).toEqual({
      anyOf: [
        callOf('weather', weather.parameters),
        {
          type: 'object',
          properties: { answer: { $ref: '#/$defs/answer' } },
          required: ['answer'],
          additionalProperties: false,
        },
      ],
      $defs: { answer: { type: 'object', properties: { self: { $ref: '#/$defs/answer' } } } },
    });
    expect(body.messages[0]?.content).toContain('The weather of a city');
    expect(body.messages[0]?.content).toContain(JSON.stringify(schema));
    expect([warnings, forced?.optional]).toEqual([[], true]);
  });

  test.each<[string, Partial<ChatRequest>]>([
    ['some tool is demanded', { toolChoice: { type: 'required' } }],
    ['one tool is demanded', { toolChoice: { type: 'tool', name: 'weather' } }],
    ['tools stand beside a response format', { responseFormat: { type: 'json' } }],
  ])('where %s, log probabilities are not asked for, with a warning', (_what, change) => {
    const { body, warnings } = encode({ tools: [weather], logprobs: { top: 2 }, ...change });
    expect(body).not.toHaveProperty('logprobs');
    expect(body).not.toHaveProperty('top_logprobs');
    expect(warnings).toEqual([expect.stringContaining('log probabilities')]);
    expect(encode({ tools: [weather], ...change }).warnings).toEqual([]);
  });

  test('beside a response format, tools that must not be called change nothing', () => {
    const { body, forced } = encode({
      tools: [weather],
      toolChoice: { type: 'none' },
      responseFormat: { type: 'json' },
    });
    expect([body.format, forced]).toEqual(['json', undefined]);
  });

  test.each([
    { toolChoice: { type: 'tool', name: 'other' } as const, tools: [weather] },
    { toolChoice: { type: 'required' } as const, tools: [] },
  ])('a tool that is not there cannot be forced: $toolChoice', (change) => {
    expect(() => encode(change)).toThrow(
      expect.objectContaining({ code: 'invalid_request', param: 'tool_choice' }),
    );
  });
});

describe('hostile depth', () => {
  test('a schema nested beyond the stack is the caller’s mistake', () => {
    let schema: JsonObject = {};
    for (let depth = 0; depth < 100_000; depth++) schema = { items: schema };
    const tools = [{ name: 'f', parameters: schema }];
    for (const toolChoice of [{ type: 'auto' }, { type: 'required' }] as const) {
      expect(() => withinStack(() => JSON.stringify(encode({ tools, toolChoice }).body))).toThrow(
        expect.objectContaining({ code: 'invalid_request' }),
      );
    }
  });
});

describe('embeddings', () => {
  test('inputs go as one list that is never cut in silence, with the fixed context size', () => {
    const request = {
      kind: 'embedding',
      model: 'nomic-embed-text',
      inputs: ['a', ''],
      dimensions: 64,
    } as const;
    const numCtx = new Map([['nomic-embed-text:latest', 2048]]);
    expect(encodeEmbedding(request, { numCtx, keepAlive: -1 })).toEqual({
      warnings: [],
      body: {
        model: 'nomic-embed-text',
        input: ['a', ''],
        truncate: false,
        dimensions: 64,
        keep_alive: -1,
        options: { num_ctx: 2048 },
      },
    });
  });
});
