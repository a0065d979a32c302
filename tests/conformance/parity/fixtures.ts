/** What is asked in both protocols, in the words of neither, and what has to come of it. */
import { expect } from '@jest/globals';
import type { Script } from '../../../simulator/server.ts';
import type { KeyDraft } from '../../../src/core/key-rules.ts';
import type { ChatRequest, EmbeddingRequest, InferenceRequest, Tool } from '../../../src/domain/chat.ts';
import type { ErrorCode } from '../../../src/domain/error.ts';

export interface Fixture {
  readonly request: InferenceRequest;
  /** What the model server does with each of its requests. */
  readonly script?: Script;
  /** What is special about the key. */
  readonly key?: Partial<KeyDraft>;
  /** How many requests the key has sent before. */
  readonly before?: number;
  /** The caller leaves: after so many pieces of text, or as soon as the model server has the request. */
  readonly leave?: number | 'waiting';
  readonly result: Result;
}

/** An answer of which this is part, a failure with this code, or nothing as the caller has left. */
export type Result =
  | { readonly answer: object }
  | {
      readonly failure: ErrorCode;
      /** The field at fault: as OpenAI names it, and as the schema does. */
      readonly field?: readonly [rest: string, graphql: string];
      /** Refused before the core has seen it, so that the ledger has nothing. */
      readonly unseen?: true;
    }
  | 'left';

const say = (text: string): ChatRequest['messages'][number] => ({
  role: 'user',
  content: [{ type: 'text', text }],
});

const HELLO: ChatRequest = {
  kind: 'chat',
  model: 'llama3.1:8b',
  messages: [say('Say hello.')],
  tools: [],
  toolChoice: { type: 'auto' },
  parallelToolCalls: true,
  responseFormat: { type: 'text' },
  sampling: {},
  choices: 1,
};

const TEXTS: EmbeddingRequest = {
  kind: 'embedding',
  model: 'nomic-embed-text',
  inputs: ['the sky', 'the sea'],
};

const chat = (change: Partial<ChatRequest> = {}): ChatRequest => ({ ...HELLO, ...change });

const WEATHER: Tool = {
  name: 'get_weather',
  description: 'The weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const CLOCK: Tool = { name: 'get_time' };
const callOf = (city: string) => ({ name: 'get_weather', arguments: { city } });
const PIXEL = { type: 'image', base64: 'iVBORw0KGgo=', mediaType: 'image/png' } as const;
const PLACE: ChatRequest['responseFormat'] = {
  type: 'jsonSchema',
  name: 'place',
  schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const TEN: Script = { tokens: 10 };

const one = (choice: object) => ({ answer: { choices: [choice] } });

export const FIXTURES: Readonly<Record<string, Fixture>> = {
  'a plain chat': {
    request: chat({
      messages: [{ role: 'system', content: [{ type: 'text', text: 'Be brief.' }] }, say('Hi')],
    }),
    script: { text: 'Hello, “you” 🌍\r\ndata: [DONE]' },
    result: one({ text: 'Hello, “you” 🌍\r\ndata: [DONE]', finishReason: 'stop' }),
  },
  'every parameter of sampling': {
    request: chat({
      sampling: {
        temperature: 0.5,
        topP: 0.9,
        topK: 40,
        minP: 0.05,
        frequencyPenalty: 0.5,
        presencePenalty: -0.5,
        seed: 7,
        maxOutputTokens: 20,
      },
      keepAlive: 60,
    }),
    script: TEN,
    result: one({ finishReason: 'stop' }),
  },
  'several choices': {
    request: chat({ choices: 2, sampling: { seed: 41 } }),
    script: { text: 'One of two.' },
    result: { answer: { choices: [{ text: 'One of two.' }, { text: 'One of two.' }] } },
  },
  'tools that are called': {
    request: chat({ tools: [WEATHER, CLOCK] }),
    script: { toolCalls: [callOf('Oslo'), callOf('Rome')] },
    result: one({
      finishReason: 'tool_calls',
      toolCalls: [
        { name: 'get_weather', arguments: '{"city":"Oslo"}' },
        { name: 'get_weather', arguments: '{"city":"Rome"}' },
      ],
    }),
  },
  'tools one at a time': {
    request: chat({ tools: [WEATHER], parallelToolCalls: false }),
    script: { toolCalls: [callOf('Oslo'), callOf('Rome')] },
    result: one({ toolCalls: [{ arguments: '{"city":"Oslo"}' }] }),
  },
  'tools that must not be called': {
    request: chat({ tools: [WEATHER], toolChoice: { type: 'none' } }),
    script: { text: 'No.' },
    result: one({ text: 'No.', toolCalls: [] }),
  },
  'some tool that must be called': {
    request: chat({ tools: [WEATHER, CLOCK], toolChoice: { type: 'required' } }),
    result: one({ finishReason: 'tool_calls', toolCalls: [expect.anything()] }),
  },
  'one tool that must be called': {
    request: chat({ tools: [WEATHER, CLOCK], toolChoice: { type: 'tool', name: 'get_weather' } }),
    result: one({ toolCalls: [{ name: 'get_weather' }] }),
  },
  'the result of a tool': {
    request: chat({
      tools: [WEATHER],
      messages: [
        say('What is the weather in Oslo?'),
        {
          role: 'assistant',
          content: [],
          reasoning: 'I should look.',
          toolCalls: [{ id: 'call_1', name: 'get_weather', arguments: '{"city":"Oslo"}' }],
        },
        { role: 'tool', toolCallId: 'call_1', content: [{ type: 'text', text: '{"celsius":4}' }] },
      ],
    }),
    result: one({ text: expect.stringContaining('The tool answered: {"celsius":4}') }),
  },
  'a tool call that broke off': {
    request: chat({
      messages: [
        say('What is the weather in Oslo?'),
        {
          role: 'assistant',
          content: [],
          toolCalls: [{ id: 'call_1', name: 'get_weather', arguments: '{"city":"Os' }],
        },
        { role: 'tool', toolCallId: 'call_1', content: [{ type: 'text', text: 'It broke off.' }] },
      ],
    }),
    result: { answer: { warnings: expect.stringContaining('messages[1]') } },
  },
  'JSON of some kind': {
    request: chat({ responseFormat: { type: 'json' } }),
    result: one({ text: expect.stringMatching(/^\{.*\}$/) }),
  },
  'JSON that fits a schema': {
    request: chat({ responseFormat: PLACE }),
    result: one({ text: expect.stringMatching(/^\{\s*"city"/) }),
  },
  'a call beside JSON that fits a schema': {
    request: chat({ tools: [WEATHER], responseFormat: PLACE }),
    script: { text: '{"calls":[{"name":"get_weather","arguments":{"city":"Oslo"}}]}' },
    result: one({
      text: '',
      finishReason: 'tool_calls',
      toolCalls: [{ name: 'get_weather', arguments: '{"city":"Oslo"}' }],
    }),
  },
  'JSON that fits a schema beside tools': {
    request: chat({ tools: [WEATHER], responseFormat: PLACE }),
    script: { text: '{"answer":{"city":"Oslo"}}' },
    result: one({ text: '{"city":"Oslo"}', finishReason: 'stop', toolCalls: [] }),
  },
  'an end at a stop string': {
    request: chat({ sampling: { stop: ['three'] } }),
    script: { text: 'one two three four' },
    result: one({ text: 'one two ', finishReason: 'stop' }),
  },
  'as many stop strings as a template has': {
    request: chat({ sampling: { stop: Array.from({ length: 32 }, (_, index) => `<|${index}|>`) } }),
    script: { text: 'one <|31|> two' },
    result: one({ text: 'one ', finishReason: 'stop' }),
  },
  'an end at the bound': {
    request: chat({ sampling: { maxOutputTokens: 3 } }),
    script: TEN,
    result: { answer: { choices: [{ finishReason: 'length' }], usage: { completionTokens: 3 } } },
  },
  'log probabilities': {
    request: chat({ logprobs: { top: 2 } }),
    script: { text: 'Two words' },
    result: one({ logprobs: [expect.anything(), expect.anything()] }),
  },
  'log probabilities of a call that is demanded': {
    request: chat({ tools: [WEATHER], toolChoice: { type: 'required' }, logprobs: { top: 2 } }),
    result: {
      answer: {
        choices: [{ toolCalls: [expect.anything()] }],
        warnings: expect.stringContaining('log probabilities'),
      },
    },
  },
  reasoning: {
    request: chat({ model: 'qwen3:8b', reasoningEffort: 'high' }),
    script: { thinking: 'Let me think.', text: 'Done.' },
    result: one({ reasoning: 'Let me think.', text: 'Done.' }),
  },
  'reasoning of a model that cannot': {
    request: chat({ reasoningEffort: 'low' }),
    script: TEN,
    result: { answer: { warnings: expect.stringContaining('reason') } },
  },
  'a model to be unloaded': {
    request: chat({ keepAlive: 0 }),
    script: TEN,
    result: { answer: { warnings: expect.stringContaining('memory') } },
  },
  'counts that the model server does not tell': {
    request: chat(),
    script: { tokens: 10, omitCounts: true },
    result: { answer: { usage: { completionTokens: 10 } } },
  },
  'a prompt out of the cache': {
    request: chat(),
    script: { tokens: 10, cachedCount: 3 },
    result: { answer: { usage: { cachedTokens: 3 } } },
  },
  'an image for a model that sees': {
    request: chat({ model: 'gemma3:4b', messages: [{ role: 'user', content: [PIXEL] }] }),
    script: TEN,
    result: one({ finishReason: 'stop' }),
  },

  'an image for a model that does not see': {
    request: chat({ messages: [{ role: 'user', content: [{ type: 'text', text: 'What is it?' }, PIXEL] }] }),
    result: { failure: 'capability_missing', field: ['messages[0].content', 'input.messages[0].content'] },
  },
  'tools for a model that has none': {
    request: chat({ model: 'phi3:mini', tools: [WEATHER] }),
    result: { failure: 'capability_missing', field: ['tools', 'input.tools'] },
  },
  'a model that does not exist': {
    request: chat({ model: 'gpt-5' }),
    result: { failure: 'model_not_found', field: ['model', 'input.model'] },
  },
  'a model that only embeds': {
    request: chat({ model: 'nomic-embed-text' }),
    result: { failure: 'capability_missing', field: ['model', 'input.model'] },
  },
  'a parameter out of range': {
    request: chat({ sampling: { temperature: 2.5 } }),
    result: { failure: 'invalid_request', field: ['temperature', 'input.temperature'], unseen: true },
  },
  'a tool result without a call': {
    request: chat({ messages: [{ role: 'tool', toolCallId: 'x', content: [{ type: 'text', text: 'y' }] }] }),
    result: {
      failure: 'invalid_request',
      field: ['messages[0].tool_call_id', 'input.messages[0].content[0].toolResult.toolCallId'],
      unseen: true,
    },
  },
  'a tool without a proper name': {
    request: chat({ tools: [{ name: 'not a name' }] }),
    result: {
      failure: 'invalid_request',
      field: ['tools[0].function.name', 'input.tools[0].name'],
      unseen: true,
    },
  },
  'a model that the key may not use': {
    request: chat(),
    key: { models: ['qwen*'] },
    result: { failure: 'not_permitted', field: ['model', 'input.model'] },
  },
  'a key without the scope': {
    request: chat(),
    key: { scopes: ['models', 'embeddings'] },
    result: { failure: 'not_permitted' },
  },
  'a limit on requests that is reached': {
    request: chat(),
    script: TEN,
    key: { limits: { requestsPerMinute: 1 } },
    before: 1,
    result: { failure: 'rate_limited' },
  },
  'more than a limit ever allows': {
    request: chat({ sampling: { maxOutputTokens: 5000 } }),
    result: { failure: 'request_too_large' },
  },

  'a model server that fails': {
    request: chat(),
    script: { errorStatus: 500, errorText: 'model runner has unexpectedly stopped' },
    result: { failure: 'upstream_failed' },
  },
  'a model server that fails in the middle': {
    request: chat(),
    script: { tokens: 10, errorAfter: 4 },
    result: { failure: 'upstream_failed' },
  },
  'an answer that breaks off': {
    request: chat(),
    script: { tokens: 10, eofAfter: 4 },
    result: { failure: 'upstream_incomplete' },
  },
  'a forced call that is none': {
    request: chat({ tools: [WEATHER], toolChoice: { type: 'required' } }),
    script: { text: 'I would rather not.' },
    result: { failure: 'upstream_invalid_output' },
  },
  'prose where JSON was to come': {
    request: chat({ responseFormat: { type: 'json' } }),
    script: { text: 'I would rather not.' },
    result: { failure: 'upstream_invalid_output' },
  },

  'a caller who leaves before anything has come': {
    request: chat(),
    script: { hangBeforeHeaders: true },
    leave: 'waiting',
    result: 'left',
  },
  'a caller who leaves in the middle': {
    request: chat(),
    script: { tokens: 10, hangAfter: 5 },
    leave: 5,
    result: 'left',
  },

  embeddings: {
    request: TEXTS,
    result: { answer: { model: 'nomic-embed-text:latest', vectors: [expect.anything(), expect.anything()] } },
  },
  'embeddings that are cut': {
    request: { ...TEXTS, dimensions: 8 },
    result: { answer: { vectors: [{ length: 8 }, { length: 8 }] } },
  },
  'embeddings whose counts are not known': {
    request: TEXTS,
    script: { omitCounts: true },
    result: { answer: { usage: { promptTokens: null, totalTokens: null } } },
  },
  'embeddings of a model to be kept for good': {
    request: { ...TEXTS, keepAlive: -1 },
    result: { answer: { warnings: expect.stringContaining('memory') } },
  },
  'embeddings of nothing': {
    request: { ...TEXTS, inputs: ['the sky', ''] },
    result: { failure: 'invalid_request', field: ['input[1]', 'input.input[1]'], unseen: true },
  },
  'embeddings of a model that only chats': {
    request: { ...TEXTS, model: 'llama3.1:8b' },
    result: { failure: 'capability_missing', field: ['model', 'input.model'] },
  },
  'embeddings without the scope': {
    request: TEXTS,
    key: { scopes: ['chat'] },
    result: { failure: 'not_permitted' },
  },
};

/** What comes of any request while no model server can be reached. */
export const DOWN: Fixture = { request: chat(), result: { failure: 'upstream_unavailable' } };
