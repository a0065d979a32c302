import { z } from 'zod';
import { BOUNDS, MAX_TOOLS } from '../../../domain/bounds.ts';
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
} from '../fields.ts';
import type { Refusals } from '../validation.ts';
import { inputItem } from './items.ts';

const functionTool = z.object({ type: z.literal('function'), ...functionFields });

/** Search, shells, servers of tools and whatever else runs elsewhere: it is taken note of, so that it can be left out. */
const otherTool = z
  .object({ type: z.string() })
  .refine(({ type }) => type !== 'function', { abort: true })
  .describe('Left out beside functions, with a warning, and refused alone.');

const namedFunction = z.object({ type: z.literal('function'), name: z.string().min(1) });

const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.discriminatedUnion('type', [
    namedFunction,
    z.object({
      type: z.literal('allowed_tools'),
      mode: z.enum(['auto', 'required']),
      tools: z.array(namedFunction).min(1),
    }),
  ]),
]);

const format = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object') }),
  z.object({
    type: z.literal('json_schema'),
    name: declaredName,
    description: z.string().nullish(),
    schema: jsonObject,
    strict: z.boolean().nullish(),
  }),
]);

const summary = z.enum(['auto', 'concise', 'detailed']);

/** `POST /v1/responses`, under the rules of the other operations' parameters. */
export const responseRequest = z
  .object({
    model,
    input: z.union([z.string().min(1), z.array(inputItem).min(1)]).describe('The whole conversation.'),
    instructions: z.string().nullish().describe('A system message before the input.'),
    max_output_tokens: maxTokens.nullish(),
    ...samplingFields,
    stream: z.boolean().nullish(),
    stream_options: z.object({ include_obfuscation: inert('Without effect.') }).nullish(),
    text: z
      .object({ format: format.nullish(), verbosity: inert('Without effect, with a warning.') })
      .nullish(),
    reasoning: z
      .object({
        effort: reasoningEffort.nullish(),
        summary: summary
          .nullish()
          .describe('Puts the thoughts where the summary would be, as there is nobody to make one.'),
        generate_summary: summary.nullish().describe('The older name of `summary`.'),
      })
      .nullish(),
    tools: z
      .array(z.union([functionTool, otherTool]))
      .max(MAX_TOOLS)
      .nullish(),
    tool_choice: toolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    top_logprobs: intIn(BOUNDS.topLogprobs).nullish(),
    include: z
      .array(z.string())
      .nullish()
      .describe('`message.output_text.logprobs`. Anything else has no effect.'),
    metadata: z.record(z.string(), z.string()).nullish().describe('Comes back with the response.'),
    keep_alive: keepAlive.nullish(),
    ...inertFields,
    store: inert('Without effect: nothing is stored. With a warning where it is true.'),
    truncation: inert('Without effect: nothing is left out. With a warning where it is `auto`.'),
    max_tool_calls: inert('Without effect: it counts the calls of tools that are not here.'),
  })
  .meta({
    id: 'ResponseRequest',
    examples: [
      { model: 'llama3.1:8b', input: 'Why is the sky blue?' },
      {
        model: 'llama3.1:8b',
        instructions: 'Answer in one sentence.',
        input: [{ role: 'user', content: [{ type: 'input_text', text: 'What is a gateway?' }] }],
        max_output_tokens: 64,
        stream: true,
      },
      {
        model: 'llama3.1:8b',
        input: [
          { role: 'user', content: 'What is the weather in Paris?' },
          {
            type: 'function_call',
            call_id: 'call_1',
            name: 'get_weather',
            arguments: '{"city":"Paris"}',
          },
          { type: 'function_call_output', call_id: 'call_1', output: 'Sunny, 21 degrees.' },
        ],
        tools: [
          {
            type: 'function',
            name: 'get_weather',
            parameters: {
              type: 'object',
              properties: { city: { type: 'string' } },
              required: ['city'],
            },
          },
        ],
      },
    ],
  });

export const RESPONSE_REFUSALS: Refusals = {
  previous_response_id: { reason: "Responses are not stored: send the conversation as 'input'." },
  conversation: { reason: "Conversations are not stored: send them as 'input'." },
  background: {
    reason: 'Responses are not stored, so nobody could ask for it later.',
    harmless: (value) => value === false,
  },
  prompt: { reason: 'There are no stored prompts.' },
  context_management: { reason: 'Nothing compacts a conversation.' },
  moderation: { reason: 'There is no moderation.' },
};
