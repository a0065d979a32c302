import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../../simulator/server.ts';
import { ask, askLines, chat } from './client.ts';

let simulator: Simulator;
beforeAll(async () => {
  simulator = await startSimulator();
});
afterAll(() => simulator.close());

const refusal = async (body: unknown) => {
  const { status, text, headers } = await ask(simulator, '/api/chat', body);
  return { status, type: headers['content-type'], ...(JSON.parse(text) as { error: string }) };
};

describe('bodies that are no requests', () => {
  test.each([
    ['', 'missing request body'],
    ['{"model":', 'unexpected EOF'],
    ['{"model":"a"', 'unexpected EOF'],
    ['nope', "invalid character 'o' looking for beginning of value"],
    ['<html>', "invalid character '<' looking for beginning of value"],
    ['{a:1}', "invalid character 'a' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 2}', "invalid character '2' after object key:value pair"],
    ['[1 2]', "invalid character '2' after array element"],
    ['[]', 'json: cannot unmarshal array into Go value of type api.ChatRequest'],
  ])('%j is a 400', async (body, error) => {
    expect(await refusal(body)).toEqual({ status: 400, type: 'application/json; charset=utf-8', error });
  });

  test('only the first JSON value counts, and the content type does not', async () => {
    const headers = { 'Content-Type': 'text/csv' };
    const { status } = await ask(simulator, '/api/chat', `${JSON.stringify(chat())} and more`, { headers });
    expect(status).toBe(200);
  });

  test.each([
    [{ model: 5 }, 'number into Go struct field ChatRequest.model of type string'],
    [{ messages: 'hi' }, 'string into Go struct field ChatRequest.messages of type []api.Message'],
    [{ messages: ['hi'] }, 'string into Go struct field ChatRequest.messages of type api.Message'],
    [
      chat('', { messages: [{ content: [{ type: 'text' }] }] }),
      'array into Go struct field ChatRequest.messages.content of type string',
    ],
    [{ stream: 'yes' }, 'string into Go struct field ChatRequest.stream of type bool'],
    [{ top_logprobs: 1.5 }, 'number 1.5 into Go struct field ChatRequest.top_logprobs of type int'],
    [
      { messages: [{ role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: '{}' } }] }] },
      'string into Go struct field ChatRequest.messages.tool_calls.function.arguments of type api.ToolCallFunctionArguments',
    ],
  ])('a wrong type is named as Go names it: %#', async (body, error) => {
    expect(await refusal(body)).toMatchObject({ status: 400, error: `json: cannot unmarshal ${error}` });
  });

  test('a null content is an empty one', async () => {
    const body = { model: 'llama3.1:8b', messages: [{ role: 'user', content: null }] };
    expect((await ask(simulator, '/api/chat', body)).status).toBe(200);
  });
});

describe('requests that the server or the model refuses', () => {
  const tools = [
    { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } },
  ];
  const image = { role: 'user', content: 'x', images: ['aGk='] };

  test.each([
    [{ model: undefined }, 400, 'model is required'],
    [{ model: 'nope' }, 404, "model 'nope' not found"],
    [{ model: 'a b' }, 400, 'invalid model name'],
    [{ model: 'phi3:mini', tools }, 400, 'registry.ollama.ai/library/phi3:mini does not support tools'],
    [{ think: true }, 400, '"llama3.1:8b" does not support thinking'],
    [{ think: 'high' }, 400, '"llama3.1:8b" does not support thinking'],
    [
      { think: 'x' },
      400,
      'invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)',
    ],
    [{ model: 'nomic-embed-text' }, 400, '"nomic-embed-text" does not support chat'],
    [{ top_logprobs: 21 }, 400, 'top_logprobs must be between 0 and 20'],
    [{ keep_alive: '300' }, 400, 'time: missing unit in duration "300"'],
    [{ keep_alive: 'soon' }, 400, 'time: invalid duration "soon"'],
    [{ keep_alive: '5y' }, 400, 'time: unknown unit "y" in duration "5y"'],
    [{ messages: [{ ...image, images: ['a?=='] }] }, 400, 'illegal base64 data at input byte 1'],
    [{ options: { temperature: 'hot' } }, 500, 'option "temperature" must be of type float32'],
    [{ options: { num_predict: '5' } }, 500, 'option "num_predict" must be of type integer'],
    [{ options: { use_mmap: 1 } }, 500, 'option "use_mmap" must be of type boolean'],
    [{ options: { stop: '\n' } }, 500, 'option "stop" must be of type array'],
    [{ options: { stop: [1] } }, 500, 'option "stop" must be of an array of strings'],
    [{ format: 'xml' }, 500, 'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'],
    [{ format: [] }, 500, 'invalid format: "[]"; expected "json" or a valid JSON Schema object'],
  ])('%j', async (more, status, error) => {
    expect(await refusal(chat('Hello', more))).toMatchObject({ status, error });
  });

  test('images on a model that sees nothing are refused with JSON inside the string', async () => {
    const { status, error } = await refusal(chat('', { messages: [image] }));
    expect(status).toBe(400);
    expect(error).toBe(
      '{"error":{"code":400,"message":"Multimodal data provided, but model does not support multimodal requests.","type":"invalid_request_error"}}',
    );
  });

  test('a prompt that is too long is cut in silence, or refused with both numbers where cutting is off', async () => {
    const long = 'word '.repeat(10_000);
    const lines = await askLines(simulator, chat(long));
    expect(lines.at(-1)).toMatchObject({ done_reason: 'stop', prompt_eval_count: 4096 });
    const { status, error } = await refusal(chat(long, { truncate: false }));
    expect(status).toBe(400);
    expect(JSON.parse(error)).toMatchObject({ error: { type: 'exceed_context_size_error', n_ctx: 4096 } });
  });

  test.each([
    { tools: [] },
    { think: false },
    { options: { temperature: null, mirostat: 'x', top_k: 1.9 } },
    { format: '' },
    { format: null },
  ])('what looks alike and is fine is let through: %j', async (more) => {
    expect((await ask(simulator, '/api/chat', chat('Hello', { model: 'phi3:mini', ...more }))).status).toBe(
      200,
    );
  });

  test('the error of a stream that has not begun has a type without a charset', async () => {
    expect((await refusal(chat('', { format: 'xml' }))).type).toBe('application/json');
    expect((await refusal(chat('', { format: 'xml', stream: false }))).type).toBe(
      'application/json; charset=utf-8',
    );
  });
});
