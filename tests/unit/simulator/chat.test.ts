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

const jsonType = 'application/json; charset=utf-8';

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
    expect((plain?.['logprobs'] as readonly object[] | undefined)?.[0]).not.toHaveProperty('top_logprobs');
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
