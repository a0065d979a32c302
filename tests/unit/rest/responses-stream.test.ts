import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { GatewayError } from '../../../src/domain/error.ts';
import type { ChatEvent, FinishReason, TokenLogprob } from '../../../src/domain/event.ts';
import { foldChat } from '../../../src/domain/result.ts';
import { decodeResponse } from '../../../src/rest/openai/responses/request.ts';
import { encodeResult } from '../../../src/rest/openai/responses/response.ts';
import { response, responseEvent } from '../../../src/rest/openai/responses/schema.ts';
import { ResponseEncoder } from '../../../src/rest/openai/responses/stream.ts';
import { content, finished, started } from '../../support/fake-gateway.ts';
import { encodeAll, parseEvents, splitLinesAsPython } from '../../support/sse.ts';

const FORM = { id: 'x1', createdAt: 1_700_000_000 };
const COMPLETED_AT = 1_700_000_009;

const formOf = (body: object) => {
  const { echo, thoughts } = decodeResponse({ model: 'm', input: 'hi', ...body });
  return { ...FORM, echo, thoughts };
};

const encoderOf = (body: object = {}, warnings: readonly string[] = []) =>
  new ResponseEncoder({ ...formOf(body), model: 'asked:1b', warnings, now: () => COMPLETED_AT });

function encode(events: readonly ChatEvent[], body: object = {}): string {
  const encoder = encoderOf(body);
  return encodeAll(encoder, events) + encoder.end();
}

const eventsOf = (frames: string) =>
  parseEvents(frames).data.map((json) => responseEvent.parse(JSON.parse(json)));
const typesOf = (frames: string) => eventsOf(frames).map(({ type }) => type.replace(/^response\./, ''));
const lastOf = (frames: string) => {
  const last = eventsOf(frames).at(-1);
  if (!last || !('response' in last)) throw new Error('the last event has no response');
  return last;
};

const reasoning = (text: string): ChatEvent => ({ type: 'reasoning', choice: 0, text });
const call = (index: number): ChatEvent => ({
  type: 'toolCall',
  choice: 0,
  index,
  id: `call_${index}`,
  name: 'f',
  arguments: '{"a":1}',
});
const probable = (token: string): TokenLogprob => ({
  token,
  logprob: -0.1,
  bytes: [97],
  top: [{ token: 'z', logprob: -2 }],
});
const said = (text: string, token = text): ChatEvent => ({
  type: 'content',
  choice: 0,
  text,
  logprobs: [probable(token)],
});
const reason = (unified: FinishReason['unified']) => ({ reasons: [{ unified, raw: unified }] });

const tokensOf = (frames: string, end: 'delta' | 'done') =>
  eventsOf(frames).flatMap((event) =>
    event.type === `response.output_text.${end}` && 'logprobs' in event
      ? [event.logprobs.map(({ token }) => token)]
      : [],
  );

const MESSAGE = [
  'output_item.added',
  'content_part.added',
  'output_text.delta',
  'output_text.done',
  'content_part.done',
  'output_item.done',
];

describe('the events of a response', () => {
  test('are those of its items, one after the other, between two of the whole', () => {
    const frames = encode([started(), reasoning('hm'), content('a'), call(0), call(1), finished()]);
    const calls = [
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
    ];
    expect(typesOf(frames)).toEqual([
      'created',
      'in_progress',
      'output_item.added',
      'content_part.added',
      'reasoning_text.delta',
      'reasoning_text.done',
      'content_part.done',
      'output_item.done',
      ...MESSAGE,
      ...calls,
      ...calls,
      'completed',
    ]);
  });

  test('are numbered from 0 without a gap, and named as what they are', () => {
    const frames = encode([started(), content('a'), content('b'), call(0), finished()]);
    expect(eventsOf(frames).map((event) => event.sequence_number)).toEqual([...eventsOf(frames).keys()]);
    const names = [...frames.matchAll(/^event: (.*)$/gm)].map(([, name]) => name);
    expect(names).toEqual(eventsOf(frames).map(({ type }) => type));
  });

  test('place each item where it is in the whole, under an id of its own', () => {
    const frames = encode([started(), reasoning('hm'), content('a'), call(0), call(1), finished()]);
    const { output } = lastOf(frames).response;
    expect(output.map(({ type }) => type)).toEqual([
      'reasoning',
      'message',
      'function_call',
      'function_call',
    ]);
    expect(new Set(output.map(({ id }) => id)).size).toBe(4);
    for (const event of eventsOf(frames)) {
      if ('item' in event) expect(event.item.id).toBe(output[event.output_index]?.id);
      if ('item_id' in event) expect(event.item_id).toBe(output[event.output_index]?.id);
      if (event.type === 'response.output_item.done') expect(event.item).toEqual(output[event.output_index]);
    }
  });

  test('bring what was thought as the summary where one was asked for', () => {
    const frames = encode([started(), reasoning('h'), reasoning('m'), content('a'), finished()], {
      reasoning: { summary: 'auto' },
    });
    expect(typesOf(frames).slice(2, 9)).toEqual([
      'output_item.added',
      'reasoning_summary_part.added',
      'reasoning_summary_text.delta',
      'reasoning_summary_text.delta',
      'reasoning_summary_text.done',
      'reasoning_summary_part.done',
      'output_item.done',
    ]);
    expect(lastOf(frames).response.output[0]).toMatchObject({
      type: 'reasoning',
      summary: [{ type: 'summary_text', text: 'hm' }],
    });
  });

  test('have a message also where the model has only thought, or said nothing at all', () => {
    for (const events of [[started()], [started(), reasoning('hm')]]) {
      const { output } = lastOf(encode([...events, finished()])).response;
      expect(output.at(-1)).toMatchObject({ type: 'message', content: [{ type: 'output_text', text: '' }] });
      expect(output).toHaveLength(events.length);
    }
  });

  test('say of an answer that was cut that it is incomplete, and why', () => {
    const frames = encode([started(), content('a'), finished(reason('length'))]);
    expect(typesOf(frames).at(-1)).toBe('incomplete');
    expect(lastOf(frames).response).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ type: 'message', status: 'incomplete' }],
    });
  });

  test('carry log probabilities with the text that they belong to, and all of them at its end', () => {
    const frames = encode([started(), said('a'), said('b'), finished()]);
    expect(tokensOf(frames, 'delta')).toEqual([['a'], ['b']]);
    expect(tokensOf(frames, 'done')).toEqual([['a', 'b']]);
    expect(lastOf(frames).response.output).toMatchObject([
      {
        content: [
          { logprobs: [{ token: 'a', bytes: [97], top_logprobs: [{ token: 'z' }] }, { token: 'b' }] },
        ],
      },
    ]);
  });

  test('begin no message for log probabilities alone: a call has none before it, thoughts stay before the text', () => {
    const hidden = said('', '<x>');
    const called = encode([started(), hidden, hidden, call(0), finished()]);
    expect(lastOf(called).response.output.map(({ type }) => type)).toEqual(['function_call']);
    expect(tokensOf(called, 'delta')).toEqual([]);
    const thought = encode([started(), hidden, reasoning('hm'), hidden, said('a'), finished()]);
    expect(lastOf(thought).response.output.map(({ type }) => type)).toEqual(['reasoning', 'message']);
  });

  test('give log probabilities without a text to the message that begins next, and those after a call to none', () => {
    const hidden = said('', '<x>');
    for (const events of [
      [hidden, said('a')],
      [hidden, reasoning('hm'), said('a')],
      [said('a'), hidden],
      [hidden],
    ]) {
      const frames = encode([started(), ...events, finished()]);
      const tokens = events.flatMap((event) =>
        ('logprobs' in event ? event.logprobs : [])?.map(({ token }) => token),
      );
      expect(tokensOf(frames, 'delta').flat()).toEqual(tokens);
      expect(tokensOf(frames, 'done')).toEqual([tokens]);
    }
    const spent = encode([started(), hidden, call(0), said('a'), finished()]);
    expect(tokensOf(spent, 'done')).toEqual([['a']]);
  });

  test('end with usage, timings and what had no effect, said once', () => {
    const encoder = encoderOf({}, ['It did nothing.']);
    const start = { ...started(), warnings: ['It did nothing.', 'Nor did that.'] } as ChatEvent;
    const frames = encodeAll(encoder, [start, finished({ usage: { promptTokens: 5, completionTokens: 3 } })]);
    expect(lastOf(frames).response).toMatchObject({
      usage: {
        input_tokens: 5,
        input_tokens_details: { cached_tokens: 0 },
        output_tokens: 3,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: 8,
      },
      timings: { total_ms: 10 },
      warnings: ['It did nothing.', 'Nor did that.'],
      completed_at: COMPLETED_AT,
    });
    expect(lastOf(encode([started(), finished({ usage: {} })])).response.usage).toBeNull();
  });

  test('end with the details of the usage where they are known, and with a count that is the gateway’s marked', () => {
    const usage = {
      promptTokens: 5,
      completionTokens: 3,
      cachedTokens: 4,
      reasoningTokens: 2,
      estimated: true,
    };
    expect(lastOf(encode([started(), finished({ usage })])).response.usage).toMatchObject({
      input_tokens_details: { cached_tokens: 4 },
      output_tokens_details: { reasoning_tokens: 2 },
      estimated: true,
    });
  });

  test('that merely end are an error', () => {
    expect(() => encode([started(), content('a')])).toThrow(
      expect.objectContaining({ code: 'upstream_incomplete' }),
    );
  });
});

describe('a response that fails', () => {
  const failure = new GatewayError('upstream_incomplete', 'It broke off.');

  test('ends in the one event that says so, with what there was of the answer', () => {
    const encoder = encoderOf();
    const frames =
      encodeAll(encoder, [started(), reasoning('hm'), content('ha'), content('lf')]) + encoder.fail(failure);
    expect(typesOf(frames).at(-1)).toBe('failed');
    expect(lastOf(frames).response).toMatchObject({
      status: 'failed',
      error: { code: 'upstream_incomplete', message: 'It broke off.' },
      completed_at: null,
      usage: null,
      output: [
        { type: 'reasoning', status: 'completed' },
        { type: 'message', status: 'incomplete', content: [{ text: 'half' }] },
      ],
    });
  });

  test('begins all the same where it fails before the model has started', () => {
    const encoder = encoderOf();
    const frames = encodeAll(encoder, [{ type: 'loading', model: 'm' }]) + encoder.fail(failure);
    expect(typesOf(frames)).toEqual(['created', 'in_progress', 'failed']);
    expect(eventsOf(frames).map((event) => 'response' in event && event.response.model)).toEqual(
      Array(3).fill('asked:1b'),
    );
  });

  test('for want of a better word has the code of a server error', () => {
    const frames = encoderOf().fail(new GatewayError('internal', 'It failed.'));
    expect(lastOf(frames).response.error).toEqual({ code: 'server_error', message: 'It failed.' });
  });
});

const anyText = fc.string({ unit: 'binary', maxLength: 20 });
const hostile = fc.constantFrom(
  '\n\ndata: {}\n\n',
  'event: response.completed',
  '\r',
  '\u2028',
  '\u0085',
  '\0',
  '\ud800',
);
const anyEvent = fc.oneof(
  fc.oneof(anyText, hostile).map((text) => content(text)),
  fc.oneof(anyText, hostile).map(reasoning),
);

describe('whatever the model writes', () => {
  test('arrives as it is, in well-formed events, for strict and for broad readers', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 12 }), (said) => {
        const frames = encode([started(), ...said, finished()]);
        const textOf = (type: 'content' | 'reasoning') =>
          said.map((event) => (event.type === type ? event.text : '')).join('');
        for (const split of [undefined, splitLinesAsPython]) {
          const events = parseEvents(frames, split).data.map((json) => responseEvent.parse(JSON.parse(json)));
          const deltas = (type: string) =>
            events.map((event) => (event.type === type && 'delta' in event ? event.delta : '')).join('');
          expect(deltas('response.output_text.delta')).toBe(textOf('content'));
          expect(deltas('response.reasoning_text.delta')).toBe(textOf('reasoning'));
          expect(events.filter(({ type }) => type === 'response.completed')).toHaveLength(1);
        }
      }),
    );
  });

  const anyAnswer = fc.record({
    thoughts: fc.array(
      anyText.filter((text) => text !== ''),
      { maxLength: 3 },
    ),
    words: fc.array(
      anyText.filter((text) => text !== ''),
      { maxLength: 3 },
    ),
    calls: fc.nat({ max: 2 }),
    hidden: fc.nat({ max: 2 }),
    isCut: fc.boolean(),
    summary: fc.constantFrom(null, 'auto'),
  });

  test('is the same response in one piece and at the end of a stream', async () => {
    await fc.assert(
      fc.asyncProperty(anyAnswer, async ({ thoughts, words, calls, hidden, isCut, summary }) => {
        const tokens = Array.from({ length: hidden }, () => said('', '<x>'));
        const events = [
          started(),
          ...tokens,
          ...thoughts.map(reasoning),
          ...tokens,
          ...words.map((text) => (hidden > 0 ? said(text) : content(text))),
          ...tokens,
          ...Array.from({ length: calls }, (_, index) => call(index)),
          finished(reason(isCut ? 'length' : 'stop')),
        ];
        const body = { reasoning: { summary } };
        const result = await foldChat(
          (async function* () {
            yield events;
          })(),
        );
        const whole = JSON.parse(JSON.stringify(encodeResult(formOf(body), result, COMPLETED_AT, [])));
        expect(response.parse(whole)).toEqual(lastOf(encode(events, body)).response);
      }),
    );
  });
});
