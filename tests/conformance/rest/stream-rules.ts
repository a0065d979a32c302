import { expect, test } from '@jest/globals';
import * as answers from '../../../src/rest/openai/response-schema.ts';
import { parseEvents, splitLinesAsPython } from '../../support/sse.ts';
import { collect, messages, post, type Session } from './session.ts';

export function describeStreams(session: () => Session): void {
  const stream = (over: object = {}) => {
    const { subject, client } = session();
    return client.chat.completions.create({ model: subject.models.chat, messages, ...over, stream: true });
  };

  test('OAI-10 MUST begin each choice with the role and end it with exactly one finish reason', async () => {
    const chunks = await collect(await stream({ n: 2 }));
    for (const index of [0, 1]) {
      const own = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
      expect(own[0]?.delta).toMatchObject({ role: 'assistant', content: '' });
      expect(own.filter((choice) => choice.finish_reason !== null)).toHaveLength(1);
      expect(own.at(-1)?.finish_reason).toBe('stop');
    }
  });

  test('OAI-11 MUST give every chunk the same id, time and model', async () => {
    const chunks = await collect(await stream());
    for (const chunk of chunks) answers.chatCompletionChunk.parse(chunk);
    expect(new Set(chunks.map(({ id, created, model }) => JSON.stringify([id, created, model]))).size).toBe(
      1,
    );
  });

  test('OAI-12 MUST send usage unasked on no chunk', async () => {
    const chunks = await collect(await stream());
    expect(chunks.filter((chunk) => 'usage' in chunk || chunk.choices.length === 0)).toEqual([]);
  });

  test('OAI-13 MUST send usage, when asked, on one last chunk without choices, and null before', async () => {
    const chunks = await collect(await stream({ stream_options: { include_usage: true } }));
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: expect.any(Number) } });
    expect(chunks.slice(0, -1).filter((chunk) => chunk.usage !== null)).toEqual([]);
  });

  test('OAI-14 MUST end with [DONE], once, and use no field but data', async () => {
    const { subject } = session();
    const body = { model: subject.models.chat, messages, stream: true };
    const response = await post(session(), '/v1/chat/completions', body);
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    const text = await response.text();
    const { data, otherFields } = parseEvents(text);
    expect(otherFields).toEqual([]);
    expect(data.filter((event) => event === '[DONE]')).toHaveLength(1);
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('OAI-15 MUST let a client stop in the middle and go on with the next request', async () => {
    for await (const chunk of await stream()) {
      expect(chunk.object).toBe('chat.completion.chunk');
      break;
    }
    const { subject, client } = session();
    await client.chat.completions.create({ model: subject.models.chat, messages });
  });

  test('OAI-16 MUST refuse stream_options without stream', async () => {
    const { subject } = session();
    const body = { model: subject.models.chat, messages, stream_options: { include_usage: true } };
    const response = await post(session(), '/v1/chat/completions', body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: 'stream_options' } });
  });

  test('OAI-17 MUST let nothing that the model writes break the framing', async () => {
    const { subject, client } = session();
    const said =
      'a\r\nb\rc\n\nevent: x\ndata: [DONE]\n\nid: 7\n: ping\u2028d\u2029e\u0085f\0g</script>"\\ \u{1f600}';
    const request = { model: subject.models.chat, messages: [{ role: 'user' as const, content: said }] };
    const whole = (await client.chat.completions.create(request)).choices[0]?.message.content;
    expect(whole).toContain(said);
    const chunks = await collect(await client.chat.completions.create({ ...request, stream: true }));
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(whole);
    const raw = await post(session(), '/v1/chat/completions', { ...request, stream: true });
    const { data, otherFields } = parseEvents(await raw.text(), splitLinesAsPython);
    expect(otherFields).toEqual([]);
    expect(data.indexOf('[DONE]')).toBe(data.length - 1);
  });

  test.each(['application/json', '*/*', 'text/html'])(
    'OAI-18 MUST decide by the body whether to stream, not by Accept: %s',
    async (accept) => {
      const body = { model: session().subject.models.chat, messages };
      const types = [];
      for (const stream of [true, false]) {
        const response = await post(session(), '/v1/chat/completions', { ...body, stream }, { accept });
        types.push(response.headers.get('content-type')?.split(';')[0]);
        await response.text();
      }
      expect(types).toEqual(['text/event-stream', 'application/json']);
    },
  );

  test('OAI-19 MUST satisfy the streaming helper, which wants a finish reason for every choice', async () => {
    const { subject, client } = session();
    const request = { model: subject.models.chat, messages };
    const whole = await client.chat.completions.create(request);
    const helper = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
    expect(await helper.finalContent()).toBe(whole.choices[0]?.message.content);
    expect((await helper.totalUsage()).total_tokens).toBeGreaterThan(0);
  });
}
