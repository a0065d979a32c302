import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { GatewayError } from '../../../src/domain/error.ts';
import { assertGrammar, type ChatEvent, type Finished } from '../../../src/domain/event.ts';
import { type ChatContext, ChatDecoder } from '../../../src/providers/ollama/decode.ts';

const context: ChatContext = {
  model: 'llama3.1:8b',
  backend: 'ollama-1',
  warnings: [],
  parallelToolCalls: true,
  logprobs: false,
  constrained: false,
  json: false,
  randomBytes: (count) => new Uint8Array(count),
};

interface Outcome {
  readonly events: readonly ChatEvent[];
  readonly failure: GatewayError | undefined;
}

function decode(pieces: readonly Buffer[], change: Partial<ChatContext> = {}): Outcome {
  const decoder = new ChatDecoder({ ...context, ...change });
  const events = [...pieces.flatMap((piece) => decoder.push(piece)), ...decoder.end()];
  expect(decoder.finished).toBe(decoder.failure === undefined);
  if (decoder.finished) assertGrammar(events);
  return { events, failure: decoder.failure };
}

function line(message: unknown, rest: object = {}): string {
  return `${JSON.stringify({ model: 'm', created_at: '2026-09-23T15:48:24.5015344Z', message, done: false, ...rest })}\n`;
}

const text = (content: string) => line({ role: 'assistant', content });
const last = (rest: object = {}, message: unknown = { role: 'assistant', content: '' }) =>
  line(message, { done: true, done_reason: 'stop', ...rest });
const call = (name: string, args: unknown, rest: object = {}) => ({
  ...rest,
  function: { name, arguments: args },
});

function read(answer: string, change: Partial<ChatContext> = {}): Outcome {
  return decode([Buffer.from(answer)], change);
}

function finishedOf({ events }: Outcome): Finished {
  const event = events.at(-1);
  if (event?.type !== 'finished') throw new Error('not finished');
  return event;
}

describe('an answer that fills a gap', () => {
  const piece = (response: unknown, rest: object = {}) =>
    `${JSON.stringify({ model: 'm', created_at: 'now', response, done: false, ...rest })}\n`;
  const end = piece('', { done: true, done_reason: 'stop', context: [1, 2, 3], eval_count: 2 });

  test('is text, with thoughts where there are any', () => {
    const { events } = read(piece('', { thinking: 'Hm.' }) + piece('return') + piece(' 1;') + end);
    expect(events).toMatchObject([
      { type: 'started' },
      { type: 'reasoning', text: 'Hm.' },
      { type: 'content', text: 'return' },
      { type: 'content', text: ' 1;' },
      { type: 'finished', usage: { completionTokens: 2 } },
    ]);
  });

  test.each([1, [], {}])('breaks off at a piece that is no text: %j', (response) => {
    expect(read(piece(response) + end).failure).toMatchObject({ code: 'upstream_incomplete' });
  });
});

describe('text', () => {
  test('says the same whether its line is recognised at sight or parsed, be it JSON or not', () => {
    const nearly = fc.tuple(
      fc.constantFrom('{"model":"', '{ "model":"', '{"error":"x","model":"', '{"message":{},"model":"'),
      fc.string({ unit: 'binary', maxLength: 4 }),
      fc.constantFrom('","created_at":"now","message":{"role":"assistant",', '","message":{"role":"user",'),
      fc.constantFrom(
        '"content":"',
        '"content":"a","content":"',
        '"thinking":"hm","content":"',
        '"content":',
      ),
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 4 }),
        fc.constantFrom('\\n', '\\u003c', '"', '\\', '\t', '\0'),
      ),
      fc.constantFrom('"},"done":false}', '"},"done":true}', '"},"done":false', '"},"done":false}}'),
    );
    fc.assert(
      fc.property(nearly, (parts) => {
        const one = parts.join('').replaceAll('\n', '');
        // A blank in front keeps it from being recognised, and means nothing in JSON.
        expect(read(`${one}\n${last()}`)).toEqual(read(` ${one}\n${last()}`));
      }),
      { numRuns: 2000 },
    );
  });

  test('a stream of tokens begins with started and ends with finished', () => {
    const { events } = read(text('It') + text(' seems') + last());
    expect(events).toEqual([
      { type: 'started', model: 'llama3.1:8b', backend: 'ollama-1', warnings: [] },
      { type: 'content', choice: 0, text: 'It' },
      { type: 'content', choice: 0, text: ' seems' },
      { type: 'finished', reasons: [{ unified: 'stop', raw: 'stop' }], usage: {}, timings: {} },
    ]);
  });

  test('a line with reasoning and text gives both, in that order', () => {
    const { events } = read(line({ content: 'Three', thinking: 'So' }) + last());
    expect(events.slice(1, 3)).toEqual([
      { type: 'reasoning', choice: 0, text: 'So' },
      { type: 'content', choice: 0, text: 'Three' },
    ]);
  });

  test('what the last line still says is said', () => {
    const message = { content: 'end', thinking: 'hm', tool_calls: [call('f', {}, { id: 'call_9' })] };
    const { events } = read(last({}, message));
    expect(events.map((event) => event.type)).toEqual([
      'started',
      'reasoning',
      'content',
      'toolCall',
      'finished',
    ]);
  });

  test('the last line needs no newline, and blank lines mean nothing', () => {
    expect(read(`\n\r\n${text('a')}\n${last().trimEnd()}`).failure).toBeUndefined();
  });

  test('whatever follows the last line is ignored', () => {
    expect(read(`${last()}garbage\n${text('more')}`).events.map((event) => event.type)).toEqual([
      'started',
      'finished',
    ]);
  });

  test('text that looks like framing arrives as it is', () => {
    const hostile = 'a\r\n\n\u2028data: [DONE]\n\n</script>\u0000';
    expect(read(text(hostile) + last()).events[1]).toMatchObject({ text: hostile });
  });
});

describe('tool calls', () => {
  test('calls of one line and of several are counted through, their arguments as JSON text', () => {
    const { events } = read(
      line({
        content: '',
        tool_calls: [call('f', { a: 1 }, { id: 'call_a' }), call('g', {}, { id: 'call_b' })],
      }) +
        line({ content: '', tool_calls: [call('h', { z: ['<'] }, { id: 'call_c' })] }) +
        last(),
    );
    expect(events.slice(1, 4)).toEqual([
      { type: 'toolCall', choice: 0, index: 0, id: 'call_a', name: 'f', arguments: '{"a":1}' },
      { type: 'toolCall', choice: 0, index: 1, id: 'call_b', name: 'g', arguments: '{}' },
      { type: 'toolCall', choice: 0, index: 2, id: 'call_c', name: 'h', arguments: '{"z":["<"]}' },
    ]);
    expect(events.at(-1)).toMatchObject({ reasons: [{ unified: 'toolCalls', raw: 'stop' }] });
  });

  test.each([undefined, '', 7, 'a b', 'x'.repeat(200)])('an id of %j is replaced by one of ours', (id) => {
    const { events } = read(line({ tool_calls: [call('f', {}, { id })] }) + last());
    expect(events[1]).toMatchObject({ id: `call_${'A'.repeat(24)}` });
  });

  test('an id that comes twice is given only once', () => {
    const { events } = read(
      line({ tool_calls: [call('f', {}, { id: 'x' }), call('f', {}, { id: 'x' })] }) + last(),
    );
    const ids = events.flatMap((event) => (event.type === 'toolCall' ? [event.id] : []));
    expect(new Set(ids).size).toBe(2);
  });

  test('only the first call counts where calls may not be parallel', () => {
    const calls = line({ tool_calls: [call('f', {}), call('g', {})] });
    const { events } = read(calls + calls + last(), { parallelToolCalls: false });
    expect(events.flatMap((event) => (event.type === 'toolCall' ? [event.name] : []))).toEqual(['f']);
  });

  test('a call cut by the token limit finishes as cut', () => {
    const outcome = read(line({ tool_calls: [call('f', {})] }) + last({ done_reason: 'length' }));
    expect(finishedOf(outcome).reasons).toEqual([{ unified: 'length', raw: 'length' }]);
  });

  test.each([
    { tool_calls: 'x' },
    { tool_calls: [null] },
    { tool_calls: [{ function: null }] },
    { tool_calls: [call('', {})] },
    { tool_calls: [call('f', '{}')] },
    { tool_calls: [call('f', [])] },
  ])('a call that is none breaks the stream off: %j', (message) => {
    expect(read(line(message) + last()).failure?.code).toBe('upstream_incomplete');
  });
});

describe('the end', () => {
  test('counts and durations of the last line become usage and timings', () => {
    const metrics = {
      total_duration: 1_099_000_000,
      load_duration: 1_000_000,
      prompt_eval_count: 317,
      prompt_eval_cached_count: 107,
      prompt_eval_duration: 300_000_000,
      eval_count: 40,
      eval_duration: 500_000_000,
    };
    const { usage, timings } = finishedOf(read(last(metrics)));
    expect(usage).toEqual({ promptTokens: 317, completionTokens: 40, cachedTokens: 107 });
    expect(timings).toEqual({ queueMs: 298, loadMs: 1, promptMs: 300, tokensPerSecond: 80 });
  });

  test('the time in a queue is not claimed where two runs made the answer', () => {
    const metrics = { total_duration: 9e9, prompt_eval_duration: 1e9, eval_duration: 1e9 };
    const answer = line({ content: '', thinking: 'hm' }) + last(metrics);
    expect(finishedOf(read(answer, { constrained: true })).timings.queueMs).toBeUndefined();
    expect(finishedOf(read(answer)).timings).toHaveProperty('queueMs', 7000);
  });

  test.each([undefined, null, -1, 1.5, '7', 1e300, Number.NaN])('a count of %j is unknown', (count) => {
    const metrics = {
      prompt_eval_count: count,
      eval_count: count,
      eval_duration: count,
      total_duration: count,
    };
    const { usage } = finishedOf(read(last(metrics)));
    expect(usage).toEqual({});
  });

  test('zero is a count', () => {
    expect(finishedOf(read(last({ prompt_eval_count: 0 }))).usage).toEqual({ promptTokens: 0 });
  });

  test.each([
    ['stop', 'stop'],
    ['length', 'length'],
    ['something new', 'stop'],
    [undefined, 'stop'],
    [5, 'stop'],
  ])('done_reason %j is %s', (raw, unified) => {
    const [reason] = finishedOf(read(last({ done_reason: raw }))).reasons;
    expect(reason).toEqual({ unified, raw: typeof raw === 'string' ? raw : '' });
  });

  test.each(['load', 'unload'])('done_reason %s is no answer', (raw) => {
    expect(read(last({ done_reason: raw })).failure).toMatchObject({
      code: 'upstream_failed',
      retryable: true,
    });
  });
});

describe('failures', () => {
  test.each([
    ['nothing at all', ''],
    ['no last line', text('a')],
    ['a cut line', `${text('a')}{"message":{"cont`],
    ['garbage', 'no JSON here\n'],
    ['a line that is no object', '[1]\n'],
    ['content of the wrong type', line({ content: 5 }) + last()],
    ['thinking of the wrong type', line({ content: '', thinking: {} }) + last()],
    ['a message of the wrong type', line('hello') + last()],
    ['done as a string', line({ content: '' }, { done: 'true' })],
  ])('%s is upstream_incomplete', (_what, answer) => {
    expect(read(answer).failure?.code).toBe('upstream_incomplete');
  });

  test('an error is one on any line, the first included, and what came before it is not lost', () => {
    const error = '{"error":"an error was encountered while running the model: GGML_ASSERT"}\n';
    expect(read(error)).toMatchObject({ events: [], failure: { code: 'upstream_failed' } });
    const { events, failure } = read(text('a') + error);
    expect(events.map((event) => event.type)).toEqual(['started', 'content']);
    expect(failure?.code).toBe('upstream_failed');
  });

  test('a missing or null message is an empty one', () => {
    expect(read(line(null) + line(undefined) + line({ content: null }) + last()).failure).toBeUndefined();
  });

  test('arguments nested beyond the stack break the stream off', () => {
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    const answer = `{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":${deep}}}}]},"done":false}\n`;
    expect(read(answer + last()).failure?.code).toBe('upstream_incomplete');
  });

  test('no failure repeats what the model or the prompt said', () => {
    const secret = 'the-canary-text';
    for (const answer of [
      `${secret}\n`,
      line({ content: 5, x: secret }),
      JSON.stringify({ error: secret }),
    ]) {
      const { failure } = read(answer);
      expect(`${failure?.message} ${failure?.detail}`).not.toContain(secret);
    }
  });
});

describe('log probabilities', () => {
  const entry = {
    token: 'It',
    logprob: -0.1,
    bytes: [73, 116],
    top_logprobs: [{ token: 'It', logprob: -0.1 }],
  };

  test('come with their text, also where the text is still held back', () => {
    const answer =
      line({ content: '' }, { logprobs: [entry] }) + line({ content: 'It' }, { logprobs: [entry] }) + last();
    const logprobs = [
      { token: 'It', logprob: -0.1, bytes: [73, 116], top: [{ token: 'It', logprob: -0.1 }] },
    ];
    expect(read(answer, { logprobs: true }).events.slice(1, 3)).toEqual([
      { type: 'content', choice: 0, text: '', logprobs },
      { type: 'content', choice: 0, text: 'It', logprobs },
    ]);
  });

  test('are left out where nobody asked, where they are none, and for reasoning', () => {
    const malformed = [null, {}, { token: 1, logprob: 0 }, { token: 'x', logprob: 'y' }];
    const plain = { type: 'content', choice: 0, text: 'It' };
    expect(read(line({ content: 'It' }, { logprobs: [entry] }) + last()).events[1]).toEqual(plain);
    const answer = line({ content: 'It' }, { logprobs: malformed }) + last();
    expect(read(answer, { logprobs: true }).events[1]).toEqual(plain);
    const thought = line({ content: '', thinking: 'hm' }, { logprobs: [entry] }) + last();
    expect(read(thought, { logprobs: true }).events.map((event) => event.type)).not.toContain('content');
  });
});

describe('forced tool calls', () => {
  const forced = {
    format: {},
    instruction: '',
    allowed: new Set(['f', 'g']),
    several: false,
    optional: false,
  };
  const several = { ...forced, several: true };

  test('the text is held back and comes out as the call it is', () => {
    const answer = text('{"name":"f",') + text('"arguments":{"a":1}}') + last();
    const { events } = read(answer, { forced });
    expect(events.slice(1)).toEqual([
      {
        type: 'toolCall',
        choice: 0,
        index: 0,
        id: `call_${'A'.repeat(24)}`,
        name: 'f',
        arguments: '{"a":1}',
      },
      expect.objectContaining({ reasons: [{ unified: 'toolCalls', raw: 'stop' }] }),
    ]);
  });

  test('what is held back is counted, a piece a token, and only there', () => {
    const decoder = new ChatDecoder({ ...context, forced });
    const count = (...lines: string[]) => {
      decoder.push(Buffer.from(lines.join('')));
      return decoder.withheld;
    };
    expect(count(line({ content: '', thinking: 'hm' }))).toBe(0);
    expect(count(text('{"name":'), text('"f",'))).toBe(2);
    expect(count(text('"arguments":{}}').slice(0, 20))).toBe(0);
    expect(count(text('"arguments":{}}').slice(20))).toBe(1);
    expect(count(last())).toBe(0);
    const free = new ChatDecoder(context);
    free.push(Buffer.from(text('a')));
    expect(free.withheld).toBe(0);
  });

  test('a list of calls comes out as all of them', () => {
    const calls = {
      calls: [
        { name: 'f', arguments: {} },
        { name: 'g', arguments: {} },
      ],
    };
    const { events } = read(text(JSON.stringify(calls)) + last(), { forced: several });
    expect(events.flatMap((event) => (event.type === 'toolCall' ? [event.name] : []))).toEqual(['f', 'g']);
  });

  test('reasoning passes while the call is held back', () => {
    const answer = line({ content: '', thinking: 'hm' }) + text('{"name":"f","arguments":{}}') + last();
    expect(read(answer, { forced }).events[1]).toEqual({ type: 'reasoning', choice: 0, text: 'hm' });
  });

  test.each([
    'no JSON',
    '5',
    '[]',
    '{"name":"h","arguments":{}}',
    '{"name":"f"}',
    '{"name":"f","arguments":[]}',
    '{"calls":[]}',
  ])('an answer that is no allowed call is upstream_invalid_output: %s', (answer) => {
    expect(read(text(answer) + last(), { forced }).failure?.code).toBe('upstream_invalid_output');
    expect(read(text(answer) + last(), { forced: several }).failure?.code).toBe('upstream_invalid_output');
  });

  test.each([forced, several])(
    'where a call is optional, an answer comes out as the text it is (%#)',
    (held) => {
      const optional = { ...held, optional: true };
      const answer = read(text('{"answer": {"ci') + text('ty": "Bern"}}') + last(), { forced: optional });
      expect(answer.events.slice(1)).toEqual([
        { type: 'content', choice: 0, text: '{"city":"Bern"}' },
        expect.objectContaining({ reasons: [{ unified: 'stop', raw: 'stop' }] }),
      ]);
      const half = text('{ "answer":{"city": "Be') + last({ done_reason: 'length' });
      expect(read(half, { forced: optional }).events[1]).toEqual({
        type: 'content',
        choice: 0,
        text: '{"city": "Be',
      });
      expect(read(text('{"answer":{}}') + last(), { forced: held }).failure?.code).toBe(
        'upstream_invalid_output',
      );
    },
  );

  test('where a call is optional, a call is one all the same', () => {
    const { events } = read(text('{"name":"f","arguments":{}}') + last(), {
      forced: { ...forced, optional: true },
    });
    expect(events[1]).toMatchObject({ type: 'toolCall', name: 'f' });
  });

  test('a call cut short by the token limit is no call, and finishes with length', () => {
    const outcome = read(text('{"name":"f","argu') + last({ done_reason: 'length' }), { forced });
    expect(outcome.events.map((event) => event.type)).toEqual(['started', 'finished']);
    expect(finishedOf(outcome).reasons).toEqual([{ unified: 'length', raw: 'length' }]);
  });
});

describe('an answer that must be JSON', () => {
  const held = { constrained: true, json: true };

  test('passes as it comes, and ends well where it is', () => {
    const answer = text(' {"city":') + text('"Bern"}\n') + last();
    expect(read(answer, held)).toEqual(read(answer));
  });

  test.each<[string, string, string?]>([
    ['prose', text('The canary is') + text(' {"in":"Bern"}')],
    ['half an object', text('{"canary":')],
    ['nothing', ''],
    ['prose on the last line', '', 'The canary.'],
  ])('that is %s is upstream_invalid_output, and keeps what came before', (_what, pieces, content = '') => {
    const answer = pieces + last({}, { content });
    const { events, failure } = read(answer, held);
    expect(events).toEqual(read(answer).events.slice(0, -1));
    expect(failure).toMatchObject({ code: 'upstream_invalid_output' });
    expect(`${failure?.message} ${failure?.detail}`).not.toMatch(/canary|Bern/i);
  });

  test('is judged by its text, however its lines come: with thoughts and with log probabilities', () => {
    const logprobs = [{ token: '{}', logprob: -0.1 }];
    const thought = line({ content: '', thinking: 'Hm.' });
    const wanted = { ...held, logprobs: true };
    expect(read(thought + line({ content: '{}' }, { logprobs }) + last(), wanted).failure).toBeUndefined();
    const prose = read(thought + line({ content: 'No.' }, { logprobs }) + last(), wanted);
    expect(prose.failure?.code).toBe('upstream_invalid_output');
  });

  test('may be less where the token limit cut it, or where it is calls', () => {
    const cut = read(text('{"city":') + last({ done_reason: 'length' }), held);
    expect(finishedOf(cut).reasons).toEqual([{ unified: 'length', raw: 'length' }]);
    const called = read(text('So: ') + line({ tool_calls: [call('f', {})] }) + last(), held);
    expect(finishedOf(called).reasons).toEqual([{ unified: 'toolCalls', raw: 'stop' }]);
  });

  test.each([
    held,
    { forced: { format: {}, instruction: '', allowed: new Set(['f']), several: false, optional: false } },
  ])('is not kept without bound (%#)', (change) => {
    const piece = text(' '.repeat(1024 * 1024));
    expect(read(piece.repeat(16), change).failure?.detail).not.toContain('boundless');
    expect(read(piece.repeat(17), change).failure).toMatchObject({
      code: 'upstream_incomplete',
      detail: expect.stringContaining('boundless'),
    });
    expect(read(piece.repeat(17) + last()).failure).toBeUndefined();
  });
});

describe('any bytes', () => {
  const answers = fc
    .array(
      fc.oneof(
        fc.string({ unit: 'grapheme', maxLength: 20 }).map(text),
        fc.string({ maxLength: 5 }).map((thinking) => line({ content: 'é🦙', thinking })),
        fc.jsonValue().map((args) => line({ content: '', tool_calls: [call('f', args, { id: 'call_1' })] })),
        fc.jsonValue().map((message) => line(message)),
        fc.constant('{"error":"boom"}\n'),
        fc.constant('garbage\n'),
        fc.constant(last({ eval_count: 3 })),
      ),
      { maxLength: 12 },
    )
    .map((lines) => Buffer.from(lines.join('')));

  test('give the same events and the same end however they are cut', () => {
    fc.assert(
      fc.property(answers, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (bytes, sizes) => {
        const pieces: Buffer[] = [];
        for (let at = 0; at < bytes.length; ) {
          const size = sizes.next().value ?? 1;
          pieces.push(bytes.subarray(at, at + size));
          at += size;
        }
        const whole = decode([bytes]);
        const cut = decode(pieces);
        expect(cut.events).toEqual(whole.events);
        expect(cut.failure?.code).toBe(whole.failure?.code);
      }),
      { numRuns: 300 },
    );
  });

  test('end in a finished event or a GatewayError, and carry nothing but strings as text', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.uint8Array({ maxLength: 60 }), answers)), (pieces) => {
        const { events, failure } = decode(pieces.map((piece) => Buffer.from(piece)));
        if (failure) expect(failure).toBeInstanceOf(GatewayError);
        if (failure) expect(failure.code).not.toBe('internal');
        for (const event of events) if ('text' in event) expect(typeof event.text).toBe('string');
      }),
      { numRuns: 300 },
    );
  });
});
