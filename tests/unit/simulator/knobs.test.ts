import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Script, type Simulator, startSimulator } from '../../../simulator/server.ts';
import { ask, askLines, chat, contentOf, linesOf, send } from './client.ts';

let simulator: Simulator;
beforeAll(async () => {
  simulator = await startSimulator({
    parallel: 8,
    models: [{ name: 'llama3.1:8b' }, { name: 'qwen3:8b' }, { name: 'nomic-embed-text' }],
  });
});
afterAll(() => simulator.close());

const scripted = (script: Script, more: object = {}) => {
  simulator.script(script);
  return ask(simulator, '/api/chat', chat('Hello', more));
};
const scriptedLines = async (script: Script, more: object = {}) => linesOf(await scripted(script, more));

describe('where a script comes from', () => {
  test('queued scripts are for one request each, and replace the default', async () => {
    simulator.setDefault({ text: 'default' });
    simulator.script({ text: 'first' }, { tokens: 1 });
    const said: string[] = [];
    for (let i = 0; i < 3; i++) said.push(contentOf(await askLines(simulator, chat())));
    simulator.setDefault({});
    expect(said).toEqual(['first', ' the', 'default']);
  });

  test('a directive in the last message of the user adds to it, and is not echoed', async () => {
    const lines = await askLines(simulator, chat('Hi [[sim:{"counts":{"a":[["b"]]}}]] there'));
    expect(contentOf(lines)).toMatch(/You said: Hi {2}there$/);
    expect(lines.at(-1)).toMatchObject({ a: [['b']] });
  });

  test('a header does, too', async () => {
    const headers = { 'X-Simulator': '{"text":"from the header"}' };
    expect(contentOf(await askLines(simulator, chat(), { headers }))).toBe('from the header');
  });

  test('another process sets scripts and reads the counts over HTTP', async () => {
    const body = { queue: [{ text: 'queued' }], default: { text: 'fallback' } };
    expect((await ask(simulator, '/simulator/script', body)).status).toBe(200);
    expect(contentOf(await askLines(simulator, chat()))).toBe('queued');
    expect(contentOf(await askLines(simulator, chat()))).toBe('fallback');
    await ask(simulator, '/simulator/script', { default: {} });
    const counts = JSON.parse((await ask(simulator, '/simulator/stats')).text) as object;
    expect(counts).toEqual(simulator.stats());
  });

  test.each([
    ['{"tokns":1}', 'simulator: there is no knob "tokns"'],
    ['{"tokens":-1}', 'simulator: the knob "tokens" cannot be that'],
    ['{"hugeLineBytes":1e12}', 'simulator: the knob "hugeLineBytes" cannot be that'],
    ['{"__proto__":{}}', 'simulator: there is no knob "__proto__"'],
    ['{', 'simulator: the script is not JSON'],
    ['7', 'simulator: a script is a JSON object'],
  ])('a wrong one is refused, so that a test cannot mistype it: %s', async (directive, error) => {
    const { status, text } = await ask(simulator, '/api/chat', chat(`[[sim:${directive}]]`));
    expect([status, JSON.parse(text)]).toEqual([400, { error }]);
  });

  test('the last requests are kept as they arrived, and no more than a bounded number of them', async () => {
    for (let i = 0; i < 260; i++) await ask(simulator, '/api/version');
    await ask(simulator, '/api/chat', chat('remember me'), { headers: { 'X-Test': 'yes' } });
    const requests = simulator.requests();
    expect(requests.length).toBe(256);
    expect(requests.at(-1)).toMatchObject({
      method: 'POST',
      path: '/api/chat',
      headers: { 'x-test': 'yes' },
      body: chat('remember me'),
    });
  });
});

describe('what is said', () => {
  test('an exact list of tokens, one a line', async () => {
    const lines = await scriptedLines({ tokens: ['a', '', ' 💡', '\n'] });
    expect(lines.map((line) => line.message.content)).toEqual(['a', '', ' 💡', '\n', '']);
  });

  test('a number of tokens', async () => {
    const lines = await scriptedLines({ tokens: 100 });
    expect(lines.length).toBe(101);
    expect(lines.at(-1)?.eval_count).toBe(100);
  });

  test('a token every so often', async () => {
    const startedAt = performance.now();
    await scripted({ tokens: 5, paceMs: 20 });
    expect(performance.now() - startedAt).toBeGreaterThan(90);
  });

  test('thoughts, and a line that has the end of them and the first of the text', async () => {
    const script = { thinking: ['Let', ' me'], tokens: ['So', ':'], thinkingBoundary: true };
    const lines = await scriptedLines(script, { model: 'qwen3:8b' });
    expect(lines.slice(0, -1).map(({ message }) => [message.thinking, message.content])).toEqual([
      ['Let', ''],
      [' me', 'So'],
      [undefined, ':'],
    ]);
  });

  test('no thoughts of a model that cannot think', async () => {
    const lines = await scriptedLines({ thinking: 'Hm', text: 'So' });
    expect(lines.map((line) => line.message.thinking)).toEqual([undefined, undefined]);
  });

  test('the whole text on the last line', async () => {
    const lines = await scriptedLines({ text: 'all at once', contentOnFinalLine: true });
    expect(lines.length).toBe(1);
    expect(lines[0]).toMatchObject({ done: true, message: { content: 'all at once' }, eval_count: 3 });
  });

  test('another reason for the end', async () => {
    expect((await scriptedLines({ doneReason: 'length' })).at(-1)?.done_reason).toBe('length');
  });
});

describe('tool calls', () => {
  const toolCalls = [
    { name: 'weather', arguments: { city: 'Oslo', days: 2 } },
    { name: 'time', arguments: {} },
  ];
  const callsOf = async (script: Script) =>
    (await scriptedLines({ toolCalls, ...script })).map(({ message, done }) => ({
      names: (message.tool_calls ?? []).map((call) => [call.function['index'], call.function['name']]),
      content: message.content,
      done,
    }));

  test('come whole, in one line, with an id each and an object for arguments, and the turn ends with "stop"', async () => {
    const lines = await scriptedLines({ toolCalls });
    expect(lines.length).toBe(2);
    const calls = lines[0]?.message.tool_calls ?? [];
    expect(calls.map((call) => call.function)).toEqual([
      { index: 0, ...toolCalls[0] },
      { index: 1, ...toolCalls[1] },
    ]);
    for (const call of calls) expect(call.id).toMatch(/^call_[a-z0-9]{8}$/);
    expect(calls[0]?.id).not.toBe(calls[1]?.id);
    expect(lines[1]).toMatchObject({ done: true, done_reason: 'stop', eval_count: 40 });
  });

  test('come over several lines with a rising index', async () => {
    expect(await callsOf({ toolCallsOn: 'several-lines', text: 'Well' })).toEqual([
      { names: [], content: 'Well', done: false },
      { names: [[0, 'weather']], content: '', done: false },
      { names: [[1, 'time']], content: '', done: false },
      { names: [], content: '', done: true },
    ]);
  });

  test('come with the last line', async () => {
    expect(await callsOf({ toolCallsOn: 'final-line' })).toEqual([
      {
        names: [
          [0, 'weather'],
          [1, 'time'],
        ],
        content: '',
        done: true,
      },
    ]);
  });

  test('have neither id nor index on an old server', async () => {
    const [line] = await scriptedLines({ toolCalls, toolCallIds: false });
    expect(line?.message.tool_calls).toEqual(toolCalls.map((call) => ({ function: call })));
  });

  test('are silent for as long as their tokens take', async () => {
    const startedAt = performance.now();
    await scripted({ toolCalls: toolCalls.slice(0, 1), paceMs: 5 });
    expect(performance.now() - startedAt).toBeGreaterThan(90);
  });

  test('are not made again when their result is in', async () => {
    const said = '[[sim:{"toolCalls":[{"name":"f","arguments":{}}]}]]';
    const messages = [
      { role: 'user', content: said },
      {
        role: 'assistant',
        content: '',
        tool_calls: [{ id: 'call_1', function: { name: 'f', arguments: {} } }],
      },
      { role: 'tool', content: '12 degrees', tool_name: 'f', tool_call_id: 'call_1' },
    ];
    expect((await askLines(simulator, chat(said)))[0]?.message.tool_calls?.length).toBe(1);
    expect(contentOf(await askLines(simulator, chat('', { messages })))).toMatch(
      /The tool answered: 12 degrees$/,
    );
  });
});

describe('counts', () => {
  test.each([
    [{ omitCounts: true }, [undefined, undefined, undefined]],
    [{ cachedCount: 3, counts: { prompt_eval_count: 4 } }, [4, 1, 3]],
    [{ counts: { prompt_eval_count: -1, eval_count: null } }, [-1, null, undefined]],
    [{ counts: { eval_count: 1e300 } }, [6, 1e300, undefined]],
  ])('are as odd as wanted: %j', async (script, expected) => {
    const last = (
      await scriptedLines({ tokens: 1, ...script }, { messages: [{ content: 'Hi', role: 'user' }] })
    ).at(-1);
    expect([last?.['prompt_eval_count'], last?.eval_count, last?.['prompt_eval_cached_count']]).toEqual(
      expected,
    );
  });
});

describe('errors', () => {
  test('before the first line have their status, streaming or not', async () => {
    for (const stream of [true, false]) {
      const reply = await scripted({ errorStatus: 500, errorText: 'no <room>' }, { stream });
      expect([reply.status, JSON.parse(reply.text)]).toEqual([500, { error: 'no <room>' }]);
    }
  });

  test('can be JSON inside the string', async () => {
    const { text } = await scripted({ errorStatus: 503, errorText: 'full', nestedJsonError: true });
    const { error } = JSON.parse(text) as { error: string };
    expect(JSON.parse(error)).toEqual({ error: { code: 503, message: 'full', type: 'server_error' } });
  });

  test.each([0, 2])(
    'come as a line of their own after %i lines, and nothing after them',
    async (errorAfter) => {
      const reply = await scripted({ tokens: 9, errorAfter });
      const lines = linesOf(reply);
      expect([reply.status, lines.length, reply.broken]).toEqual([200, errorAfter + 1, false]);
      expect(Object.keys(lines.at(-1) ?? {})).toEqual(['error']);
    },
  );

  test('are a real 500 where streaming is off', async () => {
    const reply = await scripted({ tokens: 9, errorAfter: 2, errorText: 'gone' }, { stream: false });
    expect([reply.status, JSON.parse(reply.text)]).toEqual([500, { error: 'gone' }]);
  });
});

describe('connections that end badly', () => {
  test('a body that ends well-formed and unfinished', async () => {
    const reply = await scripted({ tokens: 9, eofAfter: 3 });
    expect([linesOf(reply).map((line) => line.done), reply.broken]).toEqual([[false, false, false], false]);
    const [whole] = await scriptedLines({ tokens: 9, eofAfter: 3 }, { stream: false });
    expect(whole?.done).toBe(false);
  });

  test.each(['accept', 'headers'] as const)('a reset instead of an answer (%s)', async (resetAt) => {
    await expect(scripted({ resetAt })).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('a reset right after the headers, and one after some lines', async () => {
    const early = await scripted({ resetAt: 'body' });
    expect([early.status, early.text, early.broken]).toEqual([200, '', true]);
    const late = await scripted({ tokens: 9, resetAt: 3 });
    expect([linesOf(late).length, late.broken]).toEqual([3, true]);
  });

  test('a reset is no abort of the client', async () => {
    const before = simulator.stats();
    await scripted({ resetAt: 'headers' }).catch(() => undefined);
    await simulator.until((stats) => stats.inFlight === 0);
    expect(simulator.stats()).toEqual({ ...before, requests: before.requests + 1 });
  });

  test('silence before the headers, until the client leaves', async () => {
    simulator.script({ hangBeforeHeaders: true });
    const { aborted } = simulator.stats();
    const hanging = send(simulator, '/api/chat', chat());
    await simulator.until((stats) => stats.inFlight === 1);
    hanging.leave();
    await simulator.until((stats) => stats.inFlight === 0 && stats.aborted === aborted + 1);
  });

  test('silence after some lines', async () => {
    simulator.script({ tokens: 9, hangAfter: 2 });
    const hanging = send(simulator, '/api/chat', chat());
    const response = await hanging.response;
    response.on('error', () => undefined);
    let text = '';
    await new Promise<void>((resolve) => {
      response.on('data', (piece: Buffer) => {
        text += piece.toString();
        if (text.split('\n').length === 3) resolve();
      });
    });
    expect(simulator.stats().inFlight).toBe(1);
    hanging.leave();
    await simulator.until((stats) => stats.inFlight === 0);
  });

  test('an answer without end, which stops when the client leaves', async () => {
    simulator.script({ tokens: 3, neverEnding: true });
    const endless = send(simulator, '/api/chat', chat());
    const response = await endless.response;
    response.on('error', () => undefined);
    let bytes = 0;
    await new Promise<void>((resolve) => {
      response.on('data', (piece: Buffer) => {
        bytes += piece.length;
        if (bytes > 1_000_000) resolve();
      });
    });
    endless.leave();
    await simulator.until((stats) => stats.inFlight === 0);
  });

  test('an answer without end that is wanted whole never comes', async () => {
    simulator.script({ tokens: 3, neverEnding: true });
    const endless = send(simulator, '/api/chat', chat('Hello', { stream: false }));
    await simulator.until((stats) => stats.inFlight === 1);
    endless.leave();
    await simulator.until((stats) => stats.inFlight === 0);
  });
});

describe('bytes that come oddly', () => {
  test.each([1, 7, 64])('in pieces of %i bytes, through lines and characters', async (splitBytes) => {
    const reply = await scripted({ tokens: ['é👋🏽', ' 日本語', '\u2028'], splitBytes });
    const sizes = new Set(reply.pieces.slice(0, -1).map((piece) => piece.length));
    expect([...sizes]).toEqual([splitBytes]);
    expect(contentOf(linesOf(reply))).toBe('é👋🏽 日本語\u2028');
  });

  test('many lines in a piece', async () => {
    const reply = await scripted({ tokens: 10, joinLines: 4 });
    expect(reply.pieces.map((piece) => piece.toString().trimEnd().split('\n').length)).toEqual([4, 4, 3]);
  });

  test('a very long line', async () => {
    const [line] = await scriptedLines({ hugeLineBytes: 5_000_000 });
    expect(line?.message.content.length).toBe(5_000_000);
  });

  test('what is not JSON, first or last', async () => {
    const first = (await scripted({ garbage: true })).text.split('\n')[0] ?? '';
    expect(() => JSON.parse(first) as unknown).toThrow();
    const last = (await scripted({ trailingGarbage: 'oops' })).text.split('\n').at(-1);
    expect(last).toBe('oops');
  });

  test.each([
    ['content', { role: 'assistant', content: 42 }],
    ['message', null],
  ] as const)('a wrong type for the %s', async (wrongTypes, message) => {
    expect((await scriptedLines({ wrongTypes }))[0]?.message).toEqual(message);
  });

  test('a last line that says nothing but that it is the last', async () => {
    expect((await scripted({ emptyFinal: true })).text).toMatch(/\n{"done":true}\n$/);
  });
});

describe('answers that are not of Ollama', () => {
  test('anything at all', async () => {
    const rawHeaders = { 'Content-Type': 'text/html', 'Retry-After': '7' };
    const reply = await scripted({ rawStatus: 502, rawBody: '<h1>Bad gateway</h1>', rawHeaders });
    expect([reply.status, reply.headers['retry-after'], reply.text]).toEqual([
      502,
      '7',
      '<h1>Bad gateway</h1>',
    ]);
  });

  test('also where the message itself asks for them', async () => {
    const reply = await ask(simulator, '/api/chat', chat('[[sim:{"rawStatus":418}]]'));
    expect(reply.status).toBe(418);
    const reset = ask(simulator, '/api/chat', chat('[[sim:{"resetAt":"accept"}]]'));
    await expect(reset).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('a redirect', async () => {
    const reply = await scripted({ redirectTo: 'http://169.254.169.254/' });
    expect([reply.status, reply.headers.location]).toEqual([307, 'http://169.254.169.254/']);
  });

  test('a small body that unpacks to a large one', async () => {
    const reply = await scripted({ gzipBomb: 3_000_000 });
    expect(reply.headers['content-encoding']).toBe('gzip');
    expect(reply.body.length).toBeLessThan(10_000);
    expect(gunzipSync(reply.body).length).toBe(3_000_000);
  });
});

test('embed takes the faults that make sense for it', async () => {
  const embed = () => ask(simulator, '/api/embed', { model: 'nomic-embed-text', input: 'x' });
  simulator.script(
    { errorStatus: 500, errorText: 'no' },
    { resetAt: 'headers' },
    { rawStatus: 418 },
    { omitCounts: true },
  );
  expect((await embed()).status).toBe(500);
  await expect(embed()).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect((await embed()).status).toBe(418);
  expect(JSON.parse((await embed()).text)).not.toHaveProperty('prompt_eval_count');
});
