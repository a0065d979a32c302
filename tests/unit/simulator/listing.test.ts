import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../../simulator/server.ts';
import { ask, askLines, chat } from './client.ts';

let simulator: Simulator;
beforeAll(async () => {
  simulator = await startSimulator({
    models: ['llama3.1:8b', 'phi3:mini', 'qwen3:8b', 'nomic-embed-text'].map((name) => ({ name })),
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
