import { expect, test } from '@jest/globals';
import { zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import type { FunctionTool, ResponseInput, ResponseStreamEvent } from 'openai/resources/responses/responses';
import { z } from 'zod';
import { response, responseEvent } from '../../../src/rest/openai/responses/schema.ts';
import { parseEvents } from '../../support/sse.ts';
import { post, type Session } from './session.ts';

const WEATHER: FunctionTool = {
  type: 'function',
  name: 'get_weather',
  description: 'The weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  strict: false,
};

async function collect(stream: AsyncIterable<ResponseStreamEvent>): Promise<ResponseStreamEvent[]> {
  const events: ResponseStreamEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

export function describeResponses(session: () => Session): void {
  describeAnswers(session);
  describeEvents(session);
  describeResponseTools(session);
  describeStateless(session);
}

function describeAnswers(session: () => Session): void {
  test('OAI-100 MUST answer a response with its text, usage and what was asked for', async () => {
    const { subject, client } = session();
    const metadata = { purpose: 'greeting' };
    const answer = await client.responses.create({
      model: subject.models.chat,
      instructions: 'Be brief.',
      input: 'Say hello.',
      max_output_tokens: 4000,
      metadata,
    });
    const { output_text, _request_id, ...body } = answer;
    response.parse(body);
    expect(output_text).not.toBe('');
    expect(answer).toMatchObject({ status: 'completed', metadata, instructions: 'Be brief.', store: false });
    expect(answer.usage?.total_tokens).toBeGreaterThan(0);
    expect(_request_id).toBeTruthy();
  });

  test('OAI-101 MUST take every kind of item, and the items of an answer as they came', async () => {
    const { subject, client } = session();
    const model = subject.models.chat;
    const first = await client.responses.create({ model, input: 'Say hello.' });
    const input: ResponseInput = [
      { role: 'developer', content: 'Be brief.' },
      { role: 'system', content: [{ type: 'input_text', text: 'Be kind.' }] },
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Say hello.' }] },
      ...(first.output as ResponseInput),
      { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm.' }] },
      { type: 'function_call', call_id: 'call_1', name: 'f', arguments: '{}' },
      { type: 'function_call_output', call_id: 'call_1', output: 'Called.' },
      { role: 'assistant', content: 'So it is done.' },
      { role: 'user', content: 'Say hello.' },
    ];
    const answer = await client.responses.create({ model, input });
    expect(answer.status).toBe('completed');
  });

  test('OAI-102 MUST hold the text to a JSON schema, as the parse helper expects', async () => {
    const { subject, client } = session();
    const answer = await client.responses.parse({
      model: subject.models.chat,
      input: 'A city?',
      text: { format: zodTextFormat(z.object({ city: z.string() }), 'place') },
    });
    expect(answer.output_parsed).toEqual({ city: expect.any(String) });
  });

  test('OAI-103 MUST answer log probabilities when they are included, and none unasked', async () => {
    const { subject, client } = session();
    for (const include of [[], ['message.output_text.logprobs' as const]]) {
      const request = { model: subject.models.chat, input: 'Say hello.', include };
      const { output_text, _request_id, ...body } = await client.responses.create(request);
      const probable = response
        .parse(body)
        .output.flatMap((item) =>
          item.type === 'message' ? item.content.flatMap(({ logprobs }) => logprobs) : [],
        );
      expect(probable.length > 0).toBe(include.length > 0);
      const events = await collect(await client.responses.create({ ...request, stream: true }));
      const streamed = events
        .map((event) => responseEvent.parse(event))
        .flatMap((event) => (event.type === 'response.output_text.delta' ? event.logprobs : []));
      expect(streamed.map(({ token }) => token)).toEqual(probable.map(({ token }) => token));
    }
  });
}

function describeEvents(session: () => Session): void {
  const request = () => ({ model: session().subject.models.chat, input: 'Say hello.' });

  test('OAI-104 MUST stream numbered events from response.created to response.completed', async () => {
    const events = await collect(await session().client.responses.create({ ...request(), stream: true }));
    for (const event of events) responseEvent.parse(event);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual([...events.keys()]);
    expect(events[0]?.type).toBe('response.created');
    expect(events.at(-1)?.type).toBe('response.completed');
  });

  test('OAI-105 MUST name each event, and send no [DONE]', async () => {
    const answer = await post(session(), '/v1/responses', { ...request(), stream: true });
    expect(answer.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const frames = await answer.text();
    const { data, otherFields } = parseEvents(frames);
    expect(new Set(otherFields)).toEqual(new Set(['event']));
    const names = [...frames.matchAll(/^event: (.*)$/gm)].map(([, name]) => name);
    expect(names).toEqual(data.map((json) => JSON.parse(json).type));
  });

  test('OAI-106 MUST satisfy the streaming helper, which puts the response together by itself', async () => {
    const { client } = session();
    const whole = await client.responses.create(request());
    const helper = client.responses.stream(request());
    expect((await helper.finalResponse()).output_text).toBe(whole.output_text);
  });

  test('OAI-107 MUST let nothing that the model writes break the framing', async () => {
    const { client } = session();
    const input =
      'a\r\nb\n\nevent: response.failed\ndata: [DONE]\n\n: ping\u2028d\u2029e\u0085f\0"\\ \u{1f600}';
    const whole = await client.responses.create({ ...request(), input });
    expect(whole.output_text).toContain(input);
    const final = await client.responses.stream({ ...request(), input }).finalResponse();
    expect(final.output_text).toBe(whole.output_text);
  });

  test('OAI-108 MUST let a client stop in the middle and go on with the next request', async () => {
    const { client } = session();
    for await (const event of await client.responses.create({ ...request(), stream: true })) {
      if (event.type === 'response.output_text.delta') break;
    }
    expect((await client.responses.create(request())).status).toBe('completed');
  });
}

function describeResponseTools(session: () => Session): void {
  const request = () => ({
    model: session().subject.models.chat,
    input: 'Say hello.' as string | ResponseInput,
    tools: [WEATHER],
    tool_choice: 'required' as const,
  });

  test('OAI-110 MUST take a round of tools: the call, its result, the answer', async () => {
    const { client } = session();
    const { output } = await client.responses.create(request());
    const [call] = output;
    if (call?.type !== 'function_call') throw new Error('no function was called');
    expect(call.name).toBe('get_weather');
    expect(JSON.parse(call.arguments)).toEqual({ city: expect.any(String) });
    const result = { type: 'function_call_output' as const, call_id: call.call_id, output: 'Sunny.' };
    const answer = await client.responses.create({
      ...request(),
      tool_choice: 'auto',
      input: [{ role: 'user', content: 'Say hello.' }, ...(output as ResponseInput), result],
    });
    expect(answer.output.map(({ type }) => type)).toEqual(['message']);
  });

  test('OAI-111 MUST stream a call so that the helper finds the same in it', async () => {
    const helper = session().client.responses.stream({
      ...request(),
      tools: [zodResponsesFunction({ name: 'get_weather', parameters: z.object({ city: z.string() }) })],
    });
    const types = (await collect(helper)).map(({ type }) => type);
    expect(types).toContain('response.function_call_arguments.done');
    const [call] = (await helper.finalResponse()).output;
    expect(call).toMatchObject({ type: 'function_call', parsed_arguments: { city: expect.any(String) } });
  });

  test('OAI-112 MUST refuse a result that answers no call', async () => {
    const input: ResponseInput = [{ type: 'function_call_output', call_id: 'call_x', output: 'Sunny.' }];
    await expect(session().client.responses.create({ ...request(), input })).rejects.toMatchObject({
      status: 400,
      param: 'input[0].call_id',
    });
  });
}

function describeStateless(session: () => Session): void {
  test('OAI-113 MUST refuse by name what only a store could give', async () => {
    const { subject, client } = session();
    const request = { model: subject.models.chat, input: 'x' };
    for (const [param, value] of Object.entries({ previous_response_id: 'resp_1', background: true })) {
      await expect(client.responses.create({ ...request, [param]: value })).rejects.toMatchObject({
        status: 400,
        param,
        code: 'unsupported_parameter',
      });
    }
    const input: ResponseInput = [{ type: 'item_reference', id: 'msg_1' }];
    await expect(client.responses.create({ ...request, input })).rejects.toThrow(/nothing is stored/);
    await expect(client.responses.retrieve('resp_1')).rejects.toThrow(/not stored/);
  });

  test('OAI-114 MUST name the field at fault as this operation names it', async () => {
    const { subject, client } = session();
    const image = {
      type: 'input_image' as const,
      image_url: 'http://127.0.0.1/x.png',
      detail: 'auto' as const,
    };
    await expect(
      client.responses.create({
        model: subject.models.chat,
        input: [{ role: 'user', content: [image] }],
      }),
    ).rejects.toMatchObject({ status: 400, param: 'input[0].content[0].image_url' });
    await expect(
      client.responses.create({ model: 'no-such:1b', input: 'x', stream: true }),
    ).rejects.toMatchObject({
      status: 404,
      param: 'model',
    });
  });
}
