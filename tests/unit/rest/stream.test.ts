import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ChatEvent } from '../../../src/domain/event.ts';
import { createCompletionEncoder } from '../../../src/rest/openai/completion.ts';
import { chatCompletionChunk, completion } from '../../../src/rest/openai/response-schema.ts';
import { ChatEncoder } from '../../../src/rest/openai/stream.ts';
import { content, finished, started } from '../../support/fake-gateway.ts';
import { encodeAll, parseEvents, splitLinesAsPython } from '../../support/sse.ts';

/** By which clients know that nothing is missing. */
const DONE = 'data: [DONE]\n\n';
const STAMP = { id: 'chatcmpl-1', created: 1_700_000_000 };

function encodeChat(
  events: readonly ChatEvent[],
  over: Partial<ConstructorParameters<typeof ChatEncoder>[0]> = {},
): string {
  const encoder = new ChatEncoder({ ...STAMP, choices: 1, includeUsage: false, warnings: [], ...over });
  const frames = encodeAll(encoder, events);
  expect(encoder.end()).toBe(DONE);
  return frames;
}

const chunksOf = (frames: string) =>
  parseEvents(frames).data.map((json) => chatCompletionChunk.parse(JSON.parse(json)));

const anyText = fc.string({ unit: 'binary', maxLength: 40 });
const hostile = fc.constantFrom(
  '\n\ndata: [DONE]\n\n',
  'data: {"error":{}}',
  '\r',
  '\r\n',
  '\u2028',
  '\u2029',
  '\u0085',
  '\u000b\u000c\u001c\u001d\u001e',
  '\ud800',
  '</script>',
  ': ping',
  '\nid: 1\nevent: error\n',
  '\0',
);

describe('chat chunks', () => {
  test('whatever the model writes arrives as exactly one event per token, for strict and for broad readers', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(anyText, hostile), { maxLength: 12 }), anyText, (texts, model) => {
        const frames = encodeChat([started(model), ...texts.map((text) => content(text)), finished()]);
        for (const { data, otherFields } of [parseEvents(frames), parseEvents(frames, splitLinesAsPython)]) {
          expect(otherFields).toEqual([]);
          expect(data).toHaveLength(texts.length + 2);
          const parsed = data.map((json) => JSON.parse(json));
          expect(parsed.slice(1, -1).map((chunk) => chunk.choices[0].delta.content)).toEqual(texts);
          expect(parsed.every((chunk) => chunk.model === model && !chunk.error)).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('every choice opens with its role and ends with exactly one finish reason', () => {
    const chunks = chunksOf(
      encodeChat(
        [
          { type: 'queued', position: 0 },
          { type: 'loading', model: 'm' },
          started(),
          content('a', 1),
          content('b', 0),
          finished({
            reasons: [
              { unified: 'stop', raw: 'stop' },
              { unified: 'length', raw: 'length' },
            ],
          }),
        ],
        { choices: 2 },
      ),
    );
    for (const [index, reason] of [
      [0, 'stop'],
      [1, 'length'],
    ] as const) {
      const own = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
      expect(own[0]?.delta).toEqual({ role: 'assistant', content: '', refusal: null });
      expect(own.filter((choice) => choice.finish_reason !== null)).toEqual([
        { index, delta: {}, logprobs: null, finish_reason: reason },
      ]);
      expect(own.at(-1)?.finish_reason).toBe(reason);
    }
    expect(new Set(chunks.map(({ id, created, model }) => `${id} ${created} ${model}`)).size).toBe(1);
  });

  test('asked for, usage is null on every chunk but one last one without choices, which carries the timings', () => {
    const chunks = chunksOf(encodeChat([started(), content('a'), finished()], { includeUsage: true }));
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null && !chunk.timings)).toBe(true);
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 },
      timings: {
        queue_ms: 1,
        load_ms: 2,
        prompt_ms: 3,
        first_token_ms: 4,
        total_ms: 10,
        tokens_per_second: 30,
      },
    });
  });

  test('asked for where nobody knows the counts, usage is null on the last chunk too', () => {
    const chunks = chunksOf(encodeChat([started(), finished({ usage: {} })], { includeUsage: true }));
    expect(chunks.map((chunk) => chunk.usage)).toEqual([null, null, null]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], timings: { total_ms: 10 } });
  });

  test('not asked for, no chunk has a usage key, and the finish chunk carries the timings', () => {
    const chunks = chunksOf(encodeChat([started(), content('a'), finished()]));
    expect(chunks.some((chunk) => 'usage' in chunk)).toBe(false);
    expect(chunks.every((chunk) => chunk.choices.length === 1)).toBe(true);
    expect(chunks.map((chunk) => chunk.timings !== undefined)).toEqual([false, false, true]);
  });

  test.each([true, false])(
    'the last chunk alone says what had no effect, once (usage: %s)',
    (includeUsage) => {
      const chunks = chunksOf(
        encodeChat([{ ...started(), warnings: ['b', 'a'] }, finished()] as ChatEvent[], {
          includeUsage,
          warnings: ['a'],
        }),
      );
      expect(chunks.at(-1)?.warnings).toEqual(['a', 'b']);
      expect(chunks.slice(0, -1).some((chunk) => 'warnings' in chunk)).toBe(false);
      expect(chunksOf(encodeChat([started(), finished()])).some((chunk) => 'warnings' in chunk)).toBe(false);
    },
  );

  test('a tool call is its name with empty arguments, then its arguments, under one index', () => {
    const call = { id: 'call_1', name: 'f', arguments: '{"a":"\u2028"}' };
    const frames = encodeChat([
      started(),
      { type: 'toolCall', choice: 0, index: 1, ...call },
      finished({ reasons: [{ unified: 'toolCalls', raw: 'stop' }] }),
    ]);
    const [, first, second, last] = chunksOf(frames);
    expect(first?.choices[0]?.delta.tool_calls).toEqual([
      { index: 1, id: 'call_1', type: 'function', function: { name: 'f', arguments: '' } },
    ]);
    expect(second?.choices[0]?.delta.tool_calls).toEqual([
      { index: 1, function: { arguments: call.arguments } },
    ]);
    expect(last?.choices[0]?.finish_reason).toBe('tool_calls');
  });

  test('reasoning has its own field, and log probabilities are complete where the backend left gaps', () => {
    const logprobs = [{ token: 'a', logprob: -0.1, top: [{ token: 'b', logprob: -2, bytes: [98] }] }];
    const chunks = chunksOf(
      encodeChat([
        started(),
        { type: 'reasoning', choice: 0, text: 'hm' },
        { type: 'content', choice: 0, text: 'a', logprobs },
        finished(),
      ]),
    );
    expect(chunks[1]?.choices[0]?.delta).toEqual({ reasoning_content: 'hm' });
    expect(chunks[2]?.choices[0]?.logprobs).toEqual({
      content: [
        { token: 'a', logprob: -0.1, bytes: null, top_logprobs: [{ token: 'b', logprob: -2, bytes: [98] }] },
      ],
      refusal: null,
    });
  });

  test('a stream that merely ends is an error', () => {
    expect(() => encodeChat([started(), content('a')])).toThrow(
      expect.objectContaining({ code: 'upstream_incomplete' }),
    );
  });
});

describe('completion chunks', () => {
  const encode = (includeUsage: boolean) => {
    const encoder = createCompletionEncoder({
      id: 'cmpl-1',
      created: 1,
      choices: 2,
      echoes: ['P', 'Q'],
      includeUsage,
      warnings: [],
    });
    const reasons = [
      { unified: 'stop', raw: 'stop' },
      { unified: 'length', raw: 'length' },
    ] as const;
    const answer = (prompt: number) =>
      [started(), content('x', 0), content('y', 1), finished({ reasons })].map((event) => ({
        ...event,
        ...(event.type === 'started' && { warnings: ['It did nothing.'] }),
        prompt,
      }));
    const frames = encodeAll(encoder, [...answer(0), ...answer(1)]);
    expect(encoder.end()).toBe(DONE);
    return parseEvents(frames).data.map((json) => completion.parse(JSON.parse(json)));
  };

  test('choices are counted through all prompts, echoed prompts come first, each choice finishes once', () => {
    const choices = encode(false).flatMap((chunk) => chunk.choices);
    const text = (index: number) =>
      choices
        .filter((choice) => choice.index === index)
        .map((choice) => choice.text)
        .join('');
    expect([0, 1, 2, 3].map(text)).toEqual(['Px', 'Py', 'Qx', 'Qy']);
    const ends = choices.filter((choice) => choice.finish_reason !== null);
    expect(ends.map(({ index, finish_reason }) => [index, finish_reason])).toEqual([
      [0, 'stop'],
      [1, 'length'],
      [2, 'stop'],
      [3, 'length'],
    ]);
  });

  test('usage is the sum over the prompts, once', () => {
    const chunks = encode(true);
    expect(chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage)).toEqual([
      { prompt_tokens: 10, completion_tokens: 6, total_tokens: 16 },
    ]);
    expect(chunks.at(-1)?.choices).toEqual([]);
  });

  test.each([true, false])(
    'the last chunk says what had no effect, once for all prompts (usage: %s)',
    (usage) => {
      const chunks = encode(usage);
      expect(chunks.map((chunk) => chunk.warnings).filter(Boolean)).toEqual([['It did nothing.']]);
      expect(chunks.at(-1)).toHaveProperty('warnings');
    },
  );

  test('an answer that lacks a prompt is an error', () => {
    const encoder = createCompletionEncoder({
      id: 'cmpl-1',
      created: 1,
      choices: 1,
      echoes: ['', ''],
      includeUsage: false,
      warnings: [],
    });
    encodeAll(
      encoder,
      [started(), finished()].map((event) => ({ ...event, prompt: 0 })),
    );
    expect(() => encoder.end()).toThrow(expect.objectContaining({ code: 'upstream_incomplete' }));
  });
});
