import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../../simulator/server.ts';
import { ask, askLines, chat, contentOf, linesOf } from './client.ts';

let simulator: Simulator;
beforeAll(async () => {
  simulator = await startSimulator({
    models: ['llama3.1:8b', 'phi3:mini', 'qwen3:8b', 'nomic-embed-text'].map((name) => ({ name })),
  });
});
afterAll(() => simulator.close());

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
    expect((lines.at(-1)?.['context'] as readonly number[] | undefined)?.length).toBeGreaterThan(10);
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
