import { expect, test } from '@jest/globals';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import * as answers from '../../../src/rest/openai/response-schema.ts';
import { collect, messages, post, type Session } from './session.ts';

export function describeChat(session: () => Session): void {
  test('OAI-01 MUST answer a chat with one message, a finish reason, usage and timings', async () => {
    const { subject, client } = session();
    const answer = await client.chat.completions.create({ model: subject.models.chat, messages });
    const { _request_id, ...body } = answer;
    answers.chatCompletion.parse(body);
    expect(answer.choices[0]?.message.content).not.toBe('');
    expect(answer.usage?.total_tokens).toBeGreaterThan(0);
    expect(_request_id).toBeTruthy();
  });

  test('OAI-02 MUST answer n times when asked to', async () => {
    const { subject, client } = session();
    const answer = await client.chat.completions.create({ model: subject.models.chat, messages, n: 3 });
    expect(answer.choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
  });

  test('OAI-03 MUST take null for every optional parameter', async () => {
    const nothing = {
      temperature: null,
      tools: null,
      stream: null,
      stop: null,
      n: null,
      seed: null,
      user: null,
    };
    const { subject } = session();
    const body = { model: subject.models.chat, messages, stream_options: null, logit_bias: null, ...nothing };
    expect((await post(session(), '/v1/chat/completions', body)).status).toBe(200);
  });

  test('OAI-04 MUST constrain the answer to a JSON schema, as the parse helper expects', async () => {
    const { subject, client } = session();
    const answer = await client.chat.completions.parse({
      model: subject.models.chat,
      messages,
      response_format: zodResponseFormat(z.object({ city: z.string() }), 'place'),
    });
    expect(answer.choices[0]?.message.parsed).toEqual({ city: expect.any(String) });
  });

  test('OAI-05 MUST show the request id, the caller’s own where it sent one, and the time taken', async () => {
    const { subject } = session();
    const body = { model: subject.models.chat, messages };
    const { headers } = await post(session(), '/v1/chat/completions', body, {
      'x-client-request-id': 'mine-1',
    });
    expect(headers.get('x-request-id')).toBe('mine-1');
    expect(headers.get('openai-processing-ms')).toMatch(/^\d+$/);
    expect(headers.get('content-type')).toMatch(/^application\/json/);
  });

  test('OAI-06 MUST take every kind of message and of content', async () => {
    const { subject, client } = session();
    const call = { id: 'call_1', type: 'function' as const, function: { name: 'f', arguments: '' } };
    const text = (said: string) => [{ type: 'text' as const, text: said }];
    const answer = await client.chat.completions.create({
      model: subject.models.chat,
      messages: [
        { role: 'developer', content: 'Be brief.' },
        { role: 'system', content: text('Be kind.') },
        { role: 'user', name: 'ann', content: text('Call it.') },
        { role: 'assistant', content: null, tool_calls: [call] },
        { role: 'tool', tool_call_id: 'call_1', content: text('Called.') },
        { role: 'assistant', content: text('So it is done.') },
        { role: 'assistant', content: null, refusal: 'Not again.' },
        { role: 'user', content: 'Say hello.' },
      ],
    });
    expect(answer.choices[0]?.finish_reason).toBe('stop');
  });

  test('OAI-07 MUST leave out what there is none of: no empty list of calls, no log probabilities unasked', async () => {
    const { subject, client } = session();
    const answer = await client.chat.completions.create({ model: subject.models.chat, messages });
    expect(answer.choices[0]?.message).not.toHaveProperty('tool_calls');
    expect(answer.choices[0]?.message.refusal).toBeNull();
    expect(answer.choices[0]?.logprobs).toBeNull();
  });

  test('OAI-08 MUST answer log probabilities, when asked, with every key that clients read', async () => {
    const { subject, client } = session();
    const request = { model: subject.models.chat, messages, logprobs: true, top_logprobs: 2 };
    const { _request_id, ...whole } = await client.chat.completions.create(request);
    answers.chatCompletion.parse(whole);
    expect(whole.choices[0]?.logprobs).toMatchObject({ content: expect.any(Array), refusal: null });
    for (const chunk of await collect(await client.chat.completions.create({ ...request, stream: true }))) {
      answers.chatCompletionChunk.parse(chunk);
    }
  });

  test('OAI-09 MUST ignore fields that it does not know', async () => {
    const body = { model: session().subject.models.chat, messages, chat_template_kwargs: { a: 1 }, x: null };
    expect((await post(session(), '/v1/chat/completions', body)).status).toBe(200);
  });
}
