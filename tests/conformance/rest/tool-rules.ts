import { expect, test } from '@jest/globals';
import { zodFunction } from 'openai/helpers/zod';
import { z } from 'zod';
import { collect, messages, type Session, WEATHER } from './session.ts';

export function describeTools(session: () => Session): void {
  const request = () => ({
    model: session().subject.models.chat,
    messages,
    tools: [WEATHER],
    tool_choice: 'required' as const,
  });

  test('OAI-20 MUST take a round of tools: the call, its result, the answer', async () => {
    const { client } = session();
    const [choice] = (await client.chat.completions.create(request())).choices;
    expect(choice?.finish_reason).toBe('tool_calls');
    expect(choice?.message.content).toBeNull();
    const [call] = choice?.message.tool_calls ?? [];
    if (!choice || call?.type !== 'function') throw new Error('no function was called');
    expect(call.function.name).toBe('get_weather');
    expect(JSON.parse(call.function.arguments)).toEqual({ city: expect.any(String) });

    const result = { role: 'tool' as const, tool_call_id: call.id, content: 'Sunny.' };
    const answer = await client.chat.completions.create({
      ...request(),
      tool_choice: 'auto',
      messages: [...messages, choice.message, result],
    });
    expect(answer.choices[0]?.finish_reason).toBe('stop');
  });

  test('OAI-21 MUST stream a call as its name with empty arguments, then the arguments', async () => {
    const { client } = session();
    const chunks = await collect(await client.chat.completions.create({ ...request(), stream: true }));
    const deltas = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    expect(deltas[0]).toMatchObject({
      index: 0,
      type: 'function',
      function: { name: 'get_weather', arguments: '' },
    });
    expect(deltas.slice(1).every((delta) => delta.id === undefined && !delta.function?.name)).toBe(true);
    const args = deltas.map((delta) => delta.function?.arguments ?? '').join('');
    expect(JSON.parse(args)).toEqual({ city: expect.any(String) });
  });

  test('OAI-22 MUST satisfy the streaming helper, which is strict about the identity of calls', async () => {
    const { client } = session();
    const final = await client.chat.completions.stream(request()).finalChatCompletion();
    expect(final.choices[0]?.message.tool_calls).toHaveLength(1);
  });

  test('OAI-23 MUST refuse a result that answers no call', async () => {
    const { client } = session();
    const orphan = { role: 'tool' as const, tool_call_id: 'call_x', content: 'Sunny.' };
    const failing = client.chat.completions.create({ ...request(), messages: [...messages, orphan] });
    await expect(failing).rejects.toMatchObject({ status: 400, param: 'messages[1].tool_call_id' });
  });

  test('OAI-24 MUST call nothing where the choice is none, and the named function where one is named', async () => {
    const { client } = session();
    const none = await client.chat.completions.create({ ...request(), tool_choice: 'none' });
    expect(none.choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: expect.any(String) },
    });
    const named = { type: 'function' as const, function: { name: 'get_weather' } };
    const one = await client.chat.completions.create({ ...request(), tool_choice: named });
    expect(one.choices[0]?.message.tool_calls).toMatchObject([{ function: { name: 'get_weather' } }]);
  });

  test.each([false, true])(
    'OAI-25 MUST serve the tool runner, which calls and answers by itself (stream: %s)',
    async (stream) => {
      const { subject, client } = session();
      const asked: unknown[] = [];
      const run = (args: { city: string }) => {
        asked.push(args);
        return 'Sunny.';
      };
      const body = {
        model: subject.models.chat,
        messages: [{ role: 'user' as const, content: subject.weatherQuestion }],
        tools: [
          zodFunction({ name: 'get_weather', parameters: z.object({ city: z.string() }), function: run }),
        ],
      };
      const text = stream
        ? await client.chat.completions.runTools({ ...body, stream: true }).finalContent()
        : await client.chat.completions.runTools(body).finalContent();
      expect(asked).toEqual([{ city: expect.any(String) }]);
      expect(text).toContain('Sunny.');
    },
  );
}
