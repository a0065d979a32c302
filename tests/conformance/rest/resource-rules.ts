import { expect, test } from '@jest/globals';
import { NotFoundError } from 'openai';
import * as answers from '../../../src/rest/openai/response-schema.ts';
import { post, type Session } from './session.ts';

export function describeEmbeddings(session: () => Session): void {
  test('OAI-30 MUST answer base64, which the SDK asks for by itself, with the same numbers as float', async () => {
    const { subject, client } = session();
    const request = { model: subject.models.embedding, input: ['one', 'two'] };
    const decoded = await client.embeddings.create(request);
    const plain = await client.embeddings.create({ ...request, encoding_format: 'float' });
    expect(decoded.data.map((item) => item.index)).toEqual([0, 1]);
    for (const [index, { embedding }] of decoded.data.entries()) {
      const expected = plain.data[index]?.embedding ?? [];
      expect(embedding.map(Math.fround)).toEqual(expected.map(Math.fround));
      expect(embedding.length).toBeGreaterThan(0);
    }
    expect(plain.usage.total_tokens).toBeGreaterThan(0);
  });

  test('OAI-31 MUST refuse tokens and emptiness by name', async () => {
    const { subject } = session();
    for (const input of ['', [], [1, 2], [[1]], ['a', '']]) {
      const response = await post(session(), '/v1/embeddings', { model: subject.models.embedding, input });
      expect(response.status).toBe(400);
      expect(answers.errorBody.parse(await response.json()).error.param).toMatch(/^input/);
    }
  });

  test('OAI-32 MUST write base64 in the standard alphabet, padded, four bytes a dimension', async () => {
    const { subject } = session();
    const request = { model: subject.models.embedding, input: 'one', encoding_format: 'base64' };
    const response = await post(session(), '/v1/embeddings', request);
    const { data } = answers.embeddingList.parse(await response.json());
    const encoded = String(data[0]?.embedding);
    expect(encoded).toMatch(/^[A-Za-z0-9+/]+={0,2}$/);
    expect(encoded.length % 4).toBe(0);
    expect(Buffer.from(encoded, 'base64').length % 4).toBe(0);
  });
}

export function describeModelsAndCompletions(session: () => Session): void {
  test('OAI-40 MUST list models and find each by its id', async () => {
    const { subject, client } = session();
    const ids: string[] = [];
    for await (const model of client.models.list()) ids.push(model.id);
    expect(ids).toContain(subject.models.chat);
    const model = await client.models.retrieve(subject.models.chat);
    expect(model).toMatchObject({ id: subject.models.chat, object: 'model', owned_by: expect.any(String) });
    expect(Number.isInteger(model.created)).toBe(true);
  });

  test('OAI-41 MUST answer several prompts in one list of choices, prompt by prompt', async () => {
    const { subject, client } = session();
    const answer = await client.completions.create({ model: subject.models.chat, prompt: ['a', 'b'], n: 2 });
    const { _request_id, ...body } = answer;
    answers.completion.parse(body);
    expect(answer.choices.map((choice) => choice.index)).toEqual([0, 1, 2, 3]);
  });

  test('OAI-42 MUST stream completions under the same object name', async () => {
    const { subject, client } = session();
    const stream = await client.completions.create({ model: subject.models.chat, prompt: 'a', stream: true });
    let finishes = 0;
    for await (const chunk of stream) {
      answers.completion.parse(chunk);
      if (chunk.choices[0]?.finish_reason) finishes++;
    }
    expect(finishes).toBe(1);
  });

  test('OAI-43 MUST find a model whose name has a slash, raw or encoded', async () => {
    const { subject, client } = session();
    const { namespaced } = subject.models;
    const response = await fetch(`${subject.url}/v1/models/${namespaced}`, {
      headers: { authorization: `Bearer ${subject.key}` },
    });
    expect(await response.json()).toMatchObject({ id: namespaced });
    // The SDK encodes the slash.
    expect(await client.models.retrieve(namespaced)).toMatchObject({ id: namespaced });
  });

  test('OAI-44 MUST answer a model that nobody has as NotFoundError', async () => {
    const failure = await session()
      .client.models.retrieve('no-such-model')
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(NotFoundError);
    expect(failure).toMatchObject({ code: 'model_not_found', type: 'invalid_request_error' });
  });

  test('OAI-45 MUST put the prompt before its answer where it is asked to echo', async () => {
    const { subject, client } = session();
    const request = { model: subject.models.chat, prompt: 'Once upon a time', echo: true };
    const whole = await client.completions.create(request);
    expect(whole.choices[0]?.text).toMatch(/^Once upon a time./s);
    let streamed = '';
    for await (const chunk of await client.completions.create({ ...request, stream: true })) {
      streamed += chunk.choices[0]?.text ?? '';
    }
    expect(streamed).toBe(whole.choices[0]?.text);
  });

  test('OAI-46 MUST answer what belongs between a prompt and its suffix', async () => {
    const { subject, client } = session();
    const request = { model: subject.models.insert, prompt: 'function one() {', suffix: '}' };
    const whole = await client.completions.create(request);
    expect(whole.choices[0]?.text).toMatch(/./);
    let streamed = '';
    for await (const chunk of await client.completions.create({ ...request, stream: true })) {
      streamed += chunk.choices[0]?.text ?? '';
    }
    expect(streamed).toBe(whole.choices[0]?.text);
  });
}
