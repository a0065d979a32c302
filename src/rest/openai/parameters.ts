import { z } from 'zod';
import { BOUNDS, MAX_EMBEDDING_INPUTS, MAX_TOOLS } from '../../domain/bounds.ts';
import {
  declaredName,
  functionFields,
  inert,
  inertFields,
  intIn,
  jsonObject,
  keepAlive,
  maxTokens,
  model,
  reasoningEffort,
  samplingFields,
} from './fields.ts';
import { chatMessage } from './messages.ts';
import type { Refusals } from './validation.ts';

/*
 * Every parameter of the three inference operations. A parameter stands in its operation's schema, where it is honoured
 * or, being harmless, accepted without effect, or in its list of refusals. Anything else is ignored, and listed in
 * `x-ignored-parameters` in debug mode. Null is the same as absent for whatever is optional.
 */

const functionTool = z.object({
  type: z.literal('function'),
  function: z.object(functionFields),
});

const namedFunction = z.object({
  type: z.literal('function'),
  function: z.object({ name: z.string().min(1) }),
});

const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.discriminatedUnion('type', [
    namedFunction,
    z.object({
      type: z.literal('allowed_tools'),
      allowed_tools: z.object({ mode: z.enum(['auto', 'required']), tools: z.array(namedFunction).min(1) }),
    }),
  ]),
]);

const responseFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object') }),
  z.object({
    type: z.literal('json_schema'),
    json_schema: z.object({
      name: declaredName,
      description: z.string().nullish(),
      schema: jsonObject.nullish(),
      strict: z.boolean().nullish(),
    }),
  }),
]);

const streamOptions = z.object({
  include_usage: z.boolean().nullish().describe('One last chunk without choices carries the usage.'),
  include_obfuscation: inert('Without effect.'),
});

const fields = {
  n: intIn(BOUNDS.choices).nullish(),
  stream: z.boolean().nullish(),
  stream_options: streamOptions.nullish().describe('Only with `stream`.'),
  keep_alive: keepAlive.nullish(),
};

export const chatCompletionRequest = z
  .object({
    model,
    messages: z.array(chatMessage).min(1),
    max_completion_tokens: maxTokens.nullish().describe('Wins over `max_tokens`.'),
    max_tokens: maxTokens.nullish().describe('The older name of `max_completion_tokens`.'),
    ...samplingFields,
    ...fields,
    logprobs: z.boolean().nullish(),
    top_logprobs: intIn(BOUNDS.topLogprobs).nullish().describe('Only with `logprobs`.'),
    tools: z.array(functionTool).max(MAX_TOOLS).nullish(),
    tool_choice: toolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    response_format: responseFormat.nullish(),
    reasoning_effort: reasoningEffort.nullish(),
    ...inertFields,
    metadata: inert('Without effect.'),
    verbosity: inert('Without effect, with a warning.'),
    prediction: inert('Without effect: it could only have made the answer faster.'),
    modalities: z.array(z.literal('text')).nullish().describe('Text is all there is.'),
  })
  .meta({
    id: 'ChatCompletionRequest',
    examples: [
      { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'Why is the sky blue?' }] },
      {
        model: 'llama3.1:8b',
        messages: [
          { role: 'developer', content: 'Answer in one sentence.' },
          { role: 'user', content: [{ type: 'text', text: 'What is a gateway?' }] },
        ],
        max_completion_tokens: 64,
        temperature: 0.2,
        stream: true,
        stream_options: { include_usage: true },
      },
      {
        model: 'llama3.1:8b',
        messages: [{ role: 'user', content: 'What is the weather in Paris?' }],
        tools: [
          {
            type: 'function',
            function: {
              name: 'get_weather',
              parameters: {
                type: 'object',
                properties: { city: { type: 'string' } },
                required: ['city'],
              },
            },
          },
        ],
        tool_choice: 'auto',
      },
    ],
  });

const isEmptyObject = (value: unknown) => typeof value === 'object' && Object.keys(value ?? {}).length === 0;

export const CHAT_REFUSALS: Refusals = {
  functions: { reason: "Use 'tools' instead." },
  function_call: { reason: "Use 'tool_choice' instead." },
  logit_bias: { reason: 'The backends have no such control.', harmless: isEmptyObject },
  audio: { reason: 'Only text is answered.' },
  web_search_options: { reason: 'There is no web search.' },
  moderation: { reason: 'There is no moderation.' },
  store: { reason: 'Completions are not stored.', harmless: (value) => value === false },
};

export const completionRequest = z
  .object({
    model,
    prompt: z
      .union([z.string(), z.array(z.string()).min(1).max(128)])
      .describe('Text. Each prompt of a list is answered by itself, one after the other.'),
    max_tokens: maxTokens.nullish().describe('16 where absent.'),
    suffix: z
      .string()
      .nullish()
      .describe('What comes after the gap that the answer fills, for models with the capability `insert`.'),
    echo: z.boolean().nullish().describe('The prompt before the answer. Not together with `logprobs`.'),
    logprobs: z.int().min(0).max(5).nullish(),
    best_of: z.int().min(1).nullish().describe('No more than `n`.'),
    ...samplingFields,
    ...fields,
    user: inertFields.user,
  })
  .meta({
    id: 'CompletionRequest',
    examples: [{ model: 'llama3.1:8b', prompt: 'Once upon a time', max_tokens: 16 }],
  });

export const COMPLETION_REFUSALS: Refusals = {
  logit_bias: { reason: 'The backends have no such control.', harmless: isEmptyObject },
};

export const embeddingRequest = z
  .object({
    model,
    input: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1).max(MAX_EMBEDDING_INPUTS)])
      .describe('Text. Arrays of tokens are refused, as each model counts its own.'),
    encoding_format: z
      .enum(['float', 'base64'])
      .nullish()
      .describe('`base64` is little-endian float32, which the official SDKs ask for by themselves.'),
    dimensions: intIn(BOUNDS.dimensions).nullish(),
    keep_alive: keepAlive.nullish(),
    user: inertFields.user,
  })
  .meta({
    id: 'EmbeddingRequest',
    examples: [{ model: 'nomic-embed-text:latest', input: ['The sky is blue.', 'So is the sea.'] }],
  });

export const EMBEDDING_REFUSALS: Refusals = {};
