import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import type { ChatProvider } from '../../src/core/ports.ts';
import type { ChatRequest, EmbeddingRequest } from '../../src/domain/chat.ts';
import { assertGrammar } from '../../src/domain/event.ts';
import { foldChat } from '../../src/domain/result.ts';
import { createPipeline } from '../support/pipeline.ts';
import { drain, never, startFleet } from '../support/provider.ts';
import { chatRequest, user, weather } from '../unit/ollama/requests.ts';

let simulator: Simulator;
let fleet: ChatProvider;

beforeAll(async () => {
  simulator = await startSimulator({
    models: [
      { name: 'llama3.1:8b' },
      { name: 'phi3:mini' },
      { name: 'nomic-embed-text:latest' },
      { name: 'qwen3:8b', capabilities: ['completion', 'tools', 'thinking'] },
      { name: 'llava:7b', capabilities: ['completion', 'vision'] },
      { name: 'qwen2.5-coder:7b', capabilities: ['completion', 'insert'] },
      { name: 'qwen2.5-coder:7b', capabilities: ['completion', 'tools', 'insert'] },
      { name: 'thinking-coder:7b', capabilities: ['completion', 'insert', 'thinking'] },
    ],
  });
  fleet = await startFleet([simulator.url], { numCtx: new Map([['phi3:mini', 2048]]) });
});

afterAll(async () => {
  await fleet.close();
  await simulator.close();
});

async function answer(change: Partial<ChatRequest>) {
  const outcome = await drain(fleet.chat('ollama-1', chatRequest(change), never()));
  if (!outcome.error) assertGrammar(outcome.events);
  return outcome;
}

async function result(change: Partial<ChatRequest>) {
  const { events, error } = await answer(change);
  if (error) throw error;
  return foldChat(
    (async function* () {
      yield events;
    })(),
  );
}

function sent(): Record<string, unknown> {
  const request = simulator.requests().findLast(({ path }) => path === '/api/chat' || path === '/api/embed');
  return request?.body as Record<string, unknown>;
}

describe('chat', () => {
  test('an answer arrives whole, with its backend, counts and timings', async () => {
    const chat = await result({});
    expect(chat).toMatchObject({ model: 'llama3.1:8b', backend: 'ollama-1', warnings: [] });
    expect(chat.choices[0]?.text).toContain('llama3.1:8b');
    expect(chat.choices[0]?.finish).toEqual({ unified: 'stop', raw: 'stop' });
    expect(chat.usage.completionTokens).toBeGreaterThan(0);
    expect(chat.usage.promptTokens).toBeGreaterThan(0);
    expect(chat.timings.loadMs).toBeGreaterThanOrEqual(0);
  });

  test('nothing is sent before the first event is asked for', async () => {
    const before = simulator.stats().requests;
    const stream = fleet.chat('ollama-1', chatRequest(), never())[Symbol.asyncIterator]();
    expect(simulator.stats().requests).toBe(before);
    await stream.return?.();
    expect(simulator.stats().requests).toBe(before);
  });

  test('characters outside ASCII survive whatever cuts the network makes', async () => {
    const text = 'Füße 🦙 <b>&amp;</b> \u2028 data: [DONE]';
    for (const splitBytes of [1, 2, 3, 7]) {
      simulator.script({ text, splitBytes });
      expect((await result({})).choices[0]?.text).toBe(text);
    }
  });

  test('several lines in one read are one batch', async () => {
    simulator.script({ tokens: 50, joinLines: 60 });
    const { events, batches } = await answer({});
    expect(events.length).toBeGreaterThan(50);
    expect(batches).toBeLessThan(10);
  });

  test('the token limit, stop strings and seed reach the model', async () => {
    expect((await result({ sampling: { maxOutputTokens: 2 } })).choices[0]?.finish.unified).toBe('length');
    simulator.script({ text: 'one two three' });
    expect((await result({ sampling: { stop: [' two'] } })).choices[0]?.text).toBe('one');
  });

  test('log probabilities come with the text', async () => {
    const chat = await result({ logprobs: { top: 2 }, sampling: { maxOutputTokens: 1 } });
    expect(chat.choices[0]?.logprobs[0]?.top).toHaveLength(2);
  });

  test('a model that reasons does so apart from its answer, and not where it is switched off', async () => {
    simulator.setDefault({ thinking: 'Let me see.', text: 'Three.' });
    expect((await result({ model: 'qwen3:8b' })).choices[0]).toMatchObject({
      reasoning: 'Let me see.',
      text: 'Three.',
    });
    expect((await result({ model: 'qwen3:8b', reasoningEffort: 'none' })).choices[0]?.reasoning).toBe('');
    simulator.setDefault({});
  });

  test('an effort that the model has no use for is a warning, not a failure', async () => {
    expect((await result({ reasoningEffort: 'high' })).warnings).toHaveLength(1);
  });

  test('an image reaches a model that can see', async () => {
    const image = { type: 'image', base64: 'aGVsbG8=', mediaType: 'image/png' } as const;
    await result({ model: 'llava:7b', messages: [{ role: 'user', content: [image] }] });
    expect(sent()['messages']).toEqual([{ role: 'user', content: '', images: ['aGVsbG8='] }]);
  });

  test('what belongs into a gap is asked for as such, and comes like any other text', async () => {
    const gap = { model: 'qwen2.5-coder:7b', messages: [user('function one() {')], suffix: '}' };
    simulator.script({ text: ' return 1; ' });
    const filled = await result({ ...gap, sampling: { maxOutputTokens: 20 }, logprobs: { top: 1 } });
    expect(filled.choices[0]).toMatchObject({ text: ' return 1; ', finish: { unified: 'stop' } });
    expect(filled.choices[0]?.logprobs.length).toBeGreaterThan(0);
    expect(filled.usage.completionTokens).toBeGreaterThan(0);
    const { path, body } = simulator.requests().at(-1) ?? {};
    expect(path).toBe('/api/generate');
    expect(body).toEqual({
      model: 'qwen2.5-coder:7b',
      prompt: 'function one() {',
      suffix: '}',
      stream: true,
      truncate: false,
      options: { num_predict: 20 },
      logprobs: true,
      top_logprobs: 1,
    });
  });

  test('a gap is filled without thoughts where they are switched off', async () => {
    const gap = { model: 'thinking-coder:7b', messages: [user('function one() {')], suffix: '}' };
    expect((await result({ ...gap, reasoningEffort: 'none' })).choices[0]?.reasoning).toBe('');
    expect((await result(gap)).choices[0]?.reasoning).not.toBe('');
  });

  test('a gap that the model cannot fill is refused by the server, too', async () => {
    const { error } = await answer({ model: 'phi3:mini', suffix: '}' });
    expect(error).toMatchObject({ code: 'capability_missing', param: 'suffix' });
  });

  test('the context size is the configured one or none', async () => {
    await result({ model: 'phi3:mini' });
    expect(sent()['options']).toEqual({ num_ctx: 2048 });
    await result({});
    expect(sent()).not.toHaveProperty('options');
  });

  test('nothing but what the gateway itself has to say goes upstream', async () => {
    await result({});
    const { headers } = simulator.requests().at(-1) ?? { headers: {} };
    expect(Object.keys(headers).sort()).toEqual([
      'accept',
      'accept-encoding',
      'content-length',
      'content-type',
      'host',
    ]);
  });
});

describe('tools', () => {
  const calls = [
    { name: 'weather', arguments: { city: 'Bern' } },
    { name: 'weather', arguments: { city: 'Genf' } },
  ];

  test.each(['one-line', 'several-lines', 'final-line'] as const)(
    'calls on %s are the same calls',
    async (on) => {
      simulator.script({ toolCalls: calls, toolCallsOn: on });
      const { choices } = await result({ tools: [weather] });
      expect(choices[0]?.toolCalls.map((call) => JSON.parse(call.arguments))).toEqual([
        { city: 'Bern' },
        { city: 'Genf' },
      ]);
      expect(choices[0]?.finish.unified).toBe('toolCalls');
    },
  );

  test('a server without ids gets calls with ids of our own', async () => {
    simulator.script({ toolCalls: calls, toolCallIds: false });
    const { choices } = await result({ tools: [weather] });
    const ids = choices[0]?.toolCalls.map((call) => call.id) ?? [];
    expect(new Set(ids).size).toBe(2);
    for (const id of ids) expect(id).toMatch(/^call_[\w-]{24}$/);
  });

  test('a call and its result make a round trip', async () => {
    simulator.script({ toolCalls: calls.slice(0, 1) });
    const first = await result({ tools: [weather] });
    const toolCalls = first.choices[0]?.toolCalls ?? [];
    await result({
      tools: [weather],
      messages: [
        user('Weather?'),
        { role: 'assistant', content: [], toolCalls },
        { role: 'tool', toolCallId: toolCalls[0]?.id ?? '', content: [{ type: 'text', text: 'sunny' }] },
      ],
    });
    expect(sent()['messages']).toMatchObject([
      {},
      { tool_calls: [{ function: { arguments: { city: 'Bern' } } }] },
      { role: 'tool', tool_name: 'weather', content: 'sunny' },
    ]);
  });

  test('a forced call is made, of the named tool or of any', async () => {
    const named = await result({
      tools: [{ name: 'now' }, weather],
      toolChoice: { type: 'tool', name: 'weather' },
    });
    expect(named.choices[0]?.toolCalls).toEqual([expect.objectContaining({ name: 'weather' })]);
    expect(named.choices[0]).toMatchObject({ text: '', finish: { unified: 'toolCalls' } });
    const any = await result({ tools: [{ name: 'now' }, weather], toolChoice: { type: 'required' } });
    expect(any.choices[0]?.toolCalls.length).toBeGreaterThan(0);
  });

  test('a call beside a response format is made', async () => {
    const { choices } = await result({ tools: [weather], responseFormat: { type: 'json' } });
    expect(choices[0]).toMatchObject({ text: '', finish: { unified: 'toolCalls' } });
    expect(choices[0]?.toolCalls[0]).toMatchObject({ name: 'weather' });
  });

  test('a forced call cut short by the token limit says so', async () => {
    const cut = await result({
      tools: [weather],
      toolChoice: { type: 'required' },
      sampling: { maxOutputTokens: 1 },
    });
    expect(cut.choices[0]).toMatchObject({ text: '', toolCalls: [], finish: { unified: 'length' } });
  });

  describe('a forced call, of which nothing is shown until it is whole,', () => {
    const forced = chatRequest({
      tools: [weather],
      toolChoice: { type: 'required' },
      parallelToolCalls: false,
    });
    const text = `{"name":"weather","arguments":{"city":"${'Llanfair '.repeat(12)}"}}`;

    /** The whole way from the core to the wire, on which each read takes so long by the clock of the deadlines. */
    const createSlowPipeline = (readMs: number) => {
      const pipeline = createPipeline({
        ...fleet,
        chat: (id, request, signal, onRead) =>
          fleet.chat(id, request, signal, (withheld) => {
            onRead?.(withheld);
            void pipeline.clock.advance(readMs);
          }),
      });
      return pipeline;
    };

    test('may take longer than the longest silence, as long as tokens come', async () => {
      simulator.script({ text, paceMs: 20 });
      const pipeline = createSlowPipeline(9_000);
      const begunAt = pipeline.clock.now();
      const { events, error } = await drain(pipeline.run(forced));
      expect(error).toBeUndefined();
      expect(events.slice(-3).map((event) => event.type)).toEqual(['started', 'toolCall', 'finished']);
      expect(pipeline.clock.now() - begunAt).toBeGreaterThan(20_000);
    });

    test('is paid for as far as it came', async () => {
      simulator.script({ text, eofAfter: 5 });
      const pipeline = createSlowPipeline(0);
      const { error } = await drain(pipeline.run(forced));
      expect(error?.code).toBe('upstream_incomplete');
      expect(pipeline.records[0]?.usage).toMatchObject({ completionTokens: 5, estimated: true });
    });
  });
});

describe('formats', () => {
  test('an answer held to a schema is an instance of it', async () => {
    const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] };
    const { choices } = await result({ responseFormat: { type: 'jsonSchema', name: 'x', schema } });
    expect(JSON.parse(choices[0]?.text ?? '')).toEqual({ n: expect.any(Number) });
  });

  test('an answer that a server did not hold to its format fails, once all of it has come', async () => {
    simulator.script({ text: 'Gladly: it is sunny.' });
    const { events, error } = await answer({ responseFormat: { type: 'json' } });
    expect(events.at(-1)).toMatchObject({ type: 'content' });
    expect(error).toMatchObject({ code: 'upstream_invalid_output', retryable: true });
  });

  test('an answer in a format may end at a stop string of the request, wherever that is', async () => {
    simulator.script({ text: '{"city":"Bern"}' });
    const { choices } = await result({ responseFormat: { type: 'json' }, sampling: { stop: ['ern'] } });
    expect(choices[0]).toMatchObject({ text: '{"city":"B', finish: { unified: 'stop' } });
  });
});

describe('refusals', () => {
  test.each<[string, Partial<ChatRequest>, object]>([
    ['an unknown model', { model: 'nobody:1b' }, { code: 'model_not_found', param: 'model' }],
    ['tools without the capability', { model: 'phi3:mini', tools: [weather] }, { param: 'tools' }],
    ['chat with a model that embeds', { model: 'nomic-embed-text:latest' }, { code: 'capability_missing' }],
    [
      'an image for a model that cannot see',
      { messages: [{ role: 'user', content: [{ type: 'image', base64: 'aGk=', mediaType: 'image/png' }] }] },
      { code: 'capability_missing', param: 'messages' },
    ],
  ])('%s is an error of the caller, named by its field', async (_what, change, expected) => {
    const { error, events } = await answer(change);
    expect(events).toEqual([]);
    expect(error).toMatchObject({ owner: 'caller', ...expected });
  });

  test('a backend that does not exist is unavailable', async () => {
    const { error } = await drain(fleet.chat('ollama-9', chatRequest(), never()));
    expect(error).toMatchObject({ code: 'upstream_unavailable' });
  });
});

describe('embeddings', () => {
  const request: EmbeddingRequest = {
    kind: 'embedding',
    model: 'nomic-embed-text:latest',
    inputs: ['a', 'b', ''],
  };

  test('one normalised vector per input, in order, with the prompt counted', async () => {
    const { events, error } = await drain(fleet.embed('ollama-1', request, never()));
    expect(error).toBeUndefined();
    expect(events.map((event) => event.type)).toEqual(['embedded', 'finished']);
    const vectors = events[0]?.type === 'embedded' ? events[0].vectors : [];
    expect(vectors).toHaveLength(3);
    for (const vector of vectors) expect(Math.hypot(...vector)).toBeCloseTo(1, 3);
    expect(events[1]).toMatchObject({ reasons: [], usage: { promptTokens: expect.any(Number) } });
  });

  test('dimensions cut them', async () => {
    const { events } = await drain(fleet.embed('ollama-1', { ...request, dimensions: 8 }, never()));
    expect(events[0]?.type === 'embedded' && events[0].vectors[0]).toHaveLength(8);
  });

  test('an unknown model is not found', async () => {
    const { error } = await drain(fleet.embed('ollama-1', { ...request, model: 'x' }, never()));
    expect(error?.code).toBe('model_not_found');
  });
});

describe('the catalogue', () => {
  test('tells each model’s capabilities, and which are in memory', async () => {
    await result({});
    const newcomer = await startFleet([simulator.url]);
    const [backend] = newcomer.backends();
    expect(backend).toMatchObject({ id: 'ollama-1', healthy: true, inFlight: 0 });
    expect(backend?.models.get('qwen3:8b')?.capabilities).toEqual(['completion', 'tools', 'thinking']);
    expect(backend?.models.get('llama3.1:8b')).toMatchObject({
      contextLength: 131072,
      parameterSize: '8.0B',
    });
    expect(backend?.loaded).toContain('llama3.1:8b');
    expect(newcomer.backends()).toBe(newcomer.backends());
    await newcomer.close();
  });
});
