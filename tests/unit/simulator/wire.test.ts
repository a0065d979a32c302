import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../../simulator/server.ts';
import { ask, askLines, chat, contentOf, linesOf } from './client.ts';

let simulator: Simulator;
beforeAll(async () => {
  simulator = await startSimulator({
    models: [
      'llama3.1:8b',
      'mistral:7b',
      'phi3:mini',
      'qwen2.5:7b',
      'nomic-embed-text',
      'qwen3:8b',
      'gemma3:4b',
    ].map((name) => ({ name })),
  });
});
afterAll(() => simulator.close());

const jsonType = 'application/json; charset=utf-8';

describe('the paths that describe the server', () => {
  test('the root says that Ollama runs, as text, and answers HEAD without a body', async () => {
    const got = await ask(simulator, '/');
    expect([got.status, got.headers['content-type'], got.text]).toEqual([
      200,
      'text/plain; charset=utf-8',
      'Ollama is running',
    ]);
    const head = await ask(simulator, '/', undefined, { method: 'HEAD' });
    expect([head.status, head.text]).toEqual([200, '']);
  });

  test('the version is JSON with a charset, and no header names the server or the connection', async () => {
    const { headers, text } = await ask(simulator, '/api/version');
    expect(JSON.parse(text)).toEqual({ version: '0.34.3' });
    expect(headers['content-type']).toBe(jsonType);
    expect(Object.keys(headers).sort()).toEqual(['content-length', 'content-type', 'date']);
  });

  test('an unknown path is a 404 and a wrong method a 405, both as plain text', async () => {
    const unknown = await ask(simulator, '/api/nothing');
    expect([unknown.status, unknown.headers['content-type'], unknown.text]).toEqual([
      404,
      'text/plain',
      '404 page not found',
    ]);
    const wrong = await ask(simulator, '/api/chat');
    expect([wrong.status, wrong.headers['content-type'], wrong.text]).toEqual([
      405,
      'text/plain',
      '405 method not allowed',
    ]);
    expect((await ask(simulator, '/api/tags', '{}')).status).toBe(405);
  });

  test.each([
    ['a foreign host', { Host: 'gateway.example.com' }],
    ['a foreign origin', { Origin: 'https://example.com' }],
  ])('%s gets a 403 without a body', async (_name, headers) => {
    const { status, text } = await ask(simulator, '/api/tags', undefined, { headers });
    expect([status, text]).toEqual([403, '']);
  });

  test.each([
    { Host: 'localhost:11434' },
    { Host: 'ollama.local' },
    { Host: '10.0.0.7:11434' },
    { Host: '[::1]:11434' },
    { Origin: 'http://localhost:5173' },
    { Origin: 'tauri://localhost' },
  ])('a local one is let in: %j', async (headers) => {
    expect((await ask(simulator, '/api/tags', undefined, { headers })).status).toBe(200);
  });
});

interface Tag {
  readonly name: string;
  readonly digest: string;
  readonly size: number;
  readonly details: Record<string, unknown>;
  readonly capabilities: readonly string[];
}

describe('the models', () => {
  test('a server has four that chat and one that embeds, newest first, with the published figures', async () => {
    const plain = await startSimulator();
    const { models } = JSON.parse((await ask(plain, '/api/tags')).text) as { models: readonly Tag[] };
    await plain.close();
    const figures = models.map(({ name, digest, size, details, capabilities }) => [
      name,
      digest.slice(0, 12),
      digest.length,
      size,
      details['family'],
      details['parameter_size'],
      details['quantization_level'],
      details['context_length'],
      details['embedding_length'],
      capabilities.join(),
    ]);
    expect(figures).toEqual([
      [
        'llama3.1:8b',
        '46e0c10c039e',
        64,
        4920753328,
        'llama',
        '8.0B',
        'Q4_K_M',
        131072,
        4096,
        'completion,tools',
      ],
      [
        'mistral:7b',
        '6577803aa9a0',
        64,
        4372824384,
        'llama',
        '7.2B',
        'Q4_K_M',
        32768,
        4096,
        'completion,tools',
      ],
      ['phi3:mini', '4f2222927938', 64, 2176178913, 'phi3', '3.8B', 'Q4_0', 131072, 3072, 'completion'],
      [
        'qwen2.5:7b',
        '845dbda0ea48',
        64,
        4683087332,
        'qwen2',
        '7.6B',
        'Q4_K_M',
        32768,
        3584,
        'completion,tools',
      ],
      [
        'nomic-embed-text:latest',
        '0a109f422b47',
        64,
        274302450,
        'nomic-bert',
        '137M',
        'F16',
        2048,
        768,
        'embedding',
      ],
    ]);
  });

  test('show gives the context length under the architecture, and the original one of a stretched model too', async () => {
    const { text } = await ask(simulator, '/api/show', { model: 'phi3:mini' });
    const shown = JSON.parse(text) as {
      model_info: Record<string, unknown>;
      capabilities: readonly string[];
    };
    expect(shown.model_info).toMatchObject({
      'general.architecture': 'phi3',
      'phi3.rope.scaling.original_context_length': 4096,
      'phi3.context_length': 131072,
      'phi3.embedding_length': 3072,
    });
    expect(shown.capabilities).toEqual(['completion']);
  });

  test.each([
    [{ model: 'nope' }, 404, "model 'nope:latest' not found"],
    [{ model: 'no such name' }, 400, 'invalid model name'],
    [{}, 400, 'model is required'],
  ])('show refuses %j', async (body, status, error) => {
    const reply = await ask(simulator, '/api/show', body);
    expect([reply.status, JSON.parse(reply.text)]).toEqual([status, { error }]);
  });

  test.each(['LLAMA3.1:8B', 'library/llama3.1:8b', 'registry.ollama.ai/library/Llama3.1:8b'])(
    'a name is compared without case and default parts, and repeated as written: %s',
    async (model) => {
      const lines = await askLines(simulator, chat('Hello', { model }));
      expect(new Set(lines.map((line) => line.model))).toEqual(new Set([model]));
    },
  );

  test('a loaded model is listed with its context, its size in memory and when it will leave', async () => {
    await ask(simulator, '/api/chat', chat('Hello', { keep_alive: -1 }));
    const { models } = JSON.parse((await ask(simulator, '/api/ps')).text) as {
      models: readonly (Tag & { expires_at: string; size_vram: number; context_length: number })[];
    };
    const loaded = models[0];
    expect(loaded).toMatchObject({ name: 'llama3.1:8b', context_length: 4096 });
    expect(loaded?.size).toBe(loaded?.size_vram);
    expect(Object.keys(loaded?.details ?? {})).not.toContain('context_length');
    expect(Date.parse(loaded?.expires_at ?? '')).toBeGreaterThan(Date.now() + 1e12);
  });
});

describe('a streamed chat', () => {
  test('is one JSON object a line, one line a write, metrics only on the last', async () => {
    const reply = await ask(simulator, '/api/chat', chat('What is 1 < 2 & 3?'));
    expect([reply.status, reply.headers['content-type'], reply.headers['transfer-encoding']]).toEqual([
      200,
      'application/x-ndjson',
      'chunked',
    ]);
    const lines = linesOf(reply);
    expect(reply.pieces.length).toBe(lines.length);
    expect(reply.text.endsWith('}\n')).toBe(true);
    const [last, ...others] = lines.toReversed();
    for (const line of others) expect(Object.keys(line)).toEqual(['model', 'created_at', 'message', 'done']);
    expect(Object.keys(last ?? {})).toEqual([
      'model',
      'created_at',
      'message',
      'done',
      'done_reason',
      'total_duration',
      'load_duration',
      'prompt_eval_count',
      'prompt_eval_duration',
      'eval_count',
      'eval_duration',
    ]);
    expect(last).toMatchObject({
      message: { role: 'assistant', content: '' },
      done: true,
      done_reason: 'stop',
    });
    expect(last?.eval_count).toBe(lines.length - 1);
    expect(contentOf(lines)).toBe(
      'This is the simulator speaking as llama3.1:8b: no model is running. You said: What is 1 < 2 & 3?',
    );
  });

  test('escapes what Go escapes, and leaves the rest of Unicode alone', async () => {
    const { text } = await ask(simulator, '/api/chat', chat('<a>&\u2028é👋🏽'));
    expect(text).toContain('\\u003c');
    expect(text).toContain('\\u003e');
    expect(text).toContain('\\u0026');
    expect(text).toContain('\\u2028');
    expect(text).toContain('é');
    expect(text).toContain('👋');
    expect(text).not.toMatch(/[<>&\u2028]/);
  });

  test('has timestamps in UTC with up to nine digits, never going back', async () => {
    const stamps = (await askLines(simulator, chat())).map((line) => line.created_at);
    for (const stamp of stamps) expect(stamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z$/);
    const padded = stamps.map((stamp) =>
      stamp.replace(/\.?(\d*)Z$/, (_all, digits: string) => `.${digits.padEnd(9, '0')}`),
    );
    expect(padded.toSorted()).toEqual(padded);
    expect(new Set(stamps).size).toBeGreaterThan(1);
    expect(Math.abs(Date.parse(stamps[0] ?? '') - Date.now())).toBeLessThan(60_000);
  });

  test('is one object of the same shape where streaming is off', async () => {
    const reply = await ask(simulator, '/api/chat', chat('Hello', { stream: false }));
    expect(reply.headers['content-type']).toBe(jsonType);
    const [whole, ...rest] = linesOf(reply);
    expect(rest).toEqual([]);
    expect(whole).toMatchObject({ done: true, done_reason: 'stop', message: { role: 'assistant' } });
    expect(whole?.message.content).toMatch(/^This is the simulator .* You said: Hello$/);
    expect(whole?.eval_count).toBeGreaterThan(10);
  });

  test('echoes no more than a bounded part of what was said, without half a character', async () => {
    const said = contentOf(await askLines(simulator, chat('👋'.repeat(5000))));
    expect(said.length).toBeLessThan(400);
    expect(said.isWellFormed()).toBe(true);
  });

  test('is the same for the same request', async () => {
    const body = chat('Tell me', { options: { seed: 7 } });
    expect(contentOf(await askLines(simulator, body))).toBe(contentOf(await askLines(simulator, body)));
  });

  test('honours num_predict, and says that it was cut', async () => {
    const lines = await askLines(simulator, chat('Hello', { options: { num_predict: 3 } }));
    expect(contentOf(lines)).toBe('This is the');
    expect(lines.at(-1)).toMatchObject({ done_reason: 'length', eval_count: 3 });
  });

  test('ends before a stop string, wherever tokens cut it', async () => {
    const lines = await askLines(simulator, chat('Hello', { options: { stop: ['zzz', 'lator spe'] } }));
    expect(contentOf(lines)).toBe('This is the simu');
    expect(lines.at(-1)?.done_reason).toBe('stop');
  });

  test('carries log probabilities on every line with text, as many alternatives as asked for', async () => {
    const lines = await askLines(simulator, chat('Hello', { logprobs: true, top_logprobs: 2 }));
    for (const line of lines.slice(0, -1)) {
      const logprobs = line['logprobs'] as readonly {
        token: string;
        logprob: number;
        bytes: number[];
        top_logprobs: unknown[];
      }[];
      expect(logprobs.map((entry) => entry.token).join('')).toBe(line.message.content);
      expect(logprobs[0]?.logprob).toBeLessThanOrEqual(0);
      expect(Buffer.from(logprobs[0]?.bytes ?? []).toString()).toBe(line.message.content);
      expect(logprobs[0]?.top_logprobs.length).toBe(2);
    }
    expect(lines.at(-1)).not.toHaveProperty('logprobs');
    const [plain] = await askLines(simulator, chat('Hello', { logprobs: true }));
    expect((plain?.['logprobs'] as readonly object[])[0]).not.toHaveProperty('top_logprobs');
  });
});

describe('thinking', () => {
  const thinker = (more: object = {}) => chat('Hello', { model: 'qwen3:8b', ...more });

  test('comes first, on lines with empty content, also where nobody asked for it', async () => {
    const lines = await askLines(simulator, thinker());
    const kinds = lines
      .slice(0, -1)
      .map((line) => (line.message.thinking === undefined ? 'content' : 'thinking'));
    expect(kinds.indexOf('content')).toBeGreaterThan(0);
    expect(kinds.toSorted().toReversed()).toEqual(kinds);
    expect(lines[0]?.message.content).toBe('');
    expect(Object.keys(lines[0]?.message ?? {})).toEqual(['role', 'content', 'thinking']);
  });

  test('can be switched off, and counts as generated tokens where it is on', async () => {
    const off = await askLines(simulator, thinker({ think: false }));
    expect(off.some((line) => line.message.thinking !== undefined)).toBe(false);
    const on = await askLines(simulator, thinker({ think: 'high' }));
    expect(on.at(-1)?.eval_count).toBe(on.length - 1);
    expect(on.length).toBeGreaterThan(off.length);
  });

  test('is joined apart from the content where streaming is off', async () => {
    const [whole] = await askLines(simulator, thinker({ stream: false }));
    expect(whole?.message.thinking).toMatch(/^The simulator thinks/);
    expect(whole?.message.content).toMatch(/^This is the simulator/);
  });
});

describe('formats', () => {
  test('"json" gives a JSON object', async () => {
    const text = contentOf(await askLines(simulator, chat('Say "hi" <now>', { format: 'json' })));
    expect(JSON.parse(text)).toMatchObject({ simulator: true, said: 'Say "hi" <now>' });
  });

  test('a schema gives an instance of it, always the same', async () => {
    const format = {
      type: 'object',
      $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/node' } } } },
      properties: {
        name: { type: 'string', maxLength: 3 },
        count: { type: 'integer', minimum: 5 },
        ratio: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
        ok: { type: 'boolean' },
        colour: { enum: ['red', 'blue'] },
        kind: { const: 'circle' },
        tags: { type: 'array', minItems: 2, items: { type: 'string' } },
        either: { anyOf: [{ type: 'null' }, { type: 'string' }] },
        maybe: { type: ['null', 'integer'] },
        tree: { $ref: '#/$defs/node' },
      },
      required: ['name', 'unlisted'],
    };
    const value = JSON.parse(contentOf(await askLines(simulator, chat('Hello', { format })))) as Record<
      string,
      unknown
    >;
    expect(value).toMatchObject({
      name: 'Hel',
      count: 5,
      ratio: 1,
      ok: true,
      colour: 'red',
      kind: 'circle',
      tags: ['Hello', 'Hello'],
      either: null,
      maybe: 1,
      unlisted: null,
    });
    expect(value['tree']).toHaveProperty('next');
  });
});

describe('embeddings', () => {
  const embed = async (more: object) => {
    const { status, text } = await ask(simulator, '/api/embed', { model: 'nomic-embed-text', ...more });
    return {
      status,
      ...(JSON.parse(text) as { embeddings: number[][]; error?: string; prompt_eval_count?: number }),
    };
  };
  const norm = (vector: readonly number[] = []) => Math.hypot(...vector);

  test('are vectors of length 1 in the order of the inputs, the same for the same text', async () => {
    const { embeddings, prompt_eval_count } = await embed({ input: ['one', 'two', 'one'] });
    expect(embeddings.map((vector) => vector.length)).toEqual([768, 768, 768]);
    for (const vector of embeddings) expect(norm(vector)).toBeCloseTo(1, 5);
    expect(embeddings[0]).toEqual(embeddings[2]);
    expect(embeddings[0]).not.toEqual(embeddings[1]);
    expect(prompt_eval_count).toBe(9);
  });

  test('are cut and normalised again for fewer dimensions, and left alone for more', async () => {
    const fewer = (await embed({ input: 'one', dimensions: 64 })).embeddings[0];
    const whole = (await embed({ input: 'one', dimensions: 5000 })).embeddings[0];
    expect([fewer?.length, whole?.length]).toEqual([64, 768]);
    expect(norm(fewer)).toBeCloseTo(1, 5);
    expect((fewer?.[0] ?? 0) / (fewer?.[1] ?? 0)).toBeCloseTo((whole?.[0] ?? 0) / (whole?.[1] ?? 0), 5);
  });

  test.each([{ input: '' }, { input: [] }, {}])('of nothing are none: %j', async (body) => {
    expect((await embed(body)).embeddings).toEqual([]);
  });

  test('of an empty string in a list are one vector', async () => {
    expect((await embed({ input: [''] })).embeddings.length).toBe(1);
  });

  test.each([
    [{ input: [1, 2] }, 400, 'invalid input type'],
    [{ input: 'x'.repeat(20_000), truncate: false }, 400, 'the input length exceeds the context length'],
    [{ model: 'nope', input: 'x' }, 404, 'model "nope" not found, try pulling it first'],
    [{ model: '', input: 'x' }, 404, "model '' not found"],
  ])('refuse %#', async (body, status, error) => {
    expect(await embed(body)).toEqual({ status, error });
  });

  test('are not made by a model that chats', async () => {
    const { status, error } = await embed({ model: 'llama3.1:8b', input: 'x' });
    expect(status).toBe(501);
    expect(JSON.parse(error ?? '')).toMatchObject({ error: { code: 501, type: 'not_supported_error' } });
  });
});

describe('generate', () => {
  test('streams `response` and ends with the tokens of the conversation, unless it is raw', async () => {
    const ofPrompt = async (more: object) =>
      linesOf(await ask(simulator, '/api/generate', { model: 'llama3.1:8b', prompt: 'Hello', ...more }));
    const lines = await ofPrompt({});
    expect(Object.keys(lines[0] ?? {})).toEqual(['model', 'created_at', 'response', 'done']);
    expect(lines.map((line) => line['response']).join('')).toMatch(/You said: Hello$/);
    expect((lines.at(-1)?.['context'] as readonly number[]).length).toBeGreaterThan(10);
    expect((await ofPrompt({ raw: true })).at(-1)).not.toHaveProperty('context');
  });

  test.each([
    [{ prompt: 'x', raw: true, system: 'y' }, 400, 'raw mode does not support template, system, or context'],
    [{ prompt: 'x', suffix: 'y' }, 400, 'registry.ollama.ai/library/llama3.1:8b does not support insert'],
    [{ prompt: 'x', model: 'nomic-embed-text' }, 400, '"nomic-embed-text" does not support generate'],
    [{ prompt: 'x', model: '' }, 404, "model '' not found"],
  ])('refuses %j', async (more, status, error) => {
    const reply = await ask(simulator, '/api/generate', { model: 'llama3.1:8b', ...more });
    expect([reply.status, JSON.parse(reply.text)]).toEqual([status, { error }]);
  });
});
