import { z } from 'zod';

/*
 * What the API answers, as the OpenAPI document shows it and the tests check it. The encoders do not run through these:
 * their types say as much, and an answer is not validated a second time on the way out.
 */

export const count = z.int().min(0);
const ABSENT = 'Absent where nobody knows the counts.';
const milliseconds = z.number().min(0).optional();

export const estimated = z
  .literal(true)
  .optional()
  .describe('Extension: a count is the gateway’s, as the model gave none.');

const usage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.object({ cached_tokens: z.int() }).optional(),
  completion_tokens_details: z.object({ reasoning_tokens: z.int() }).optional(),
  estimated,
});

export const timings = z
  .object({
    queue_ms: milliseconds,
    load_ms: milliseconds,
    prompt_ms: milliseconds,
    first_token_ms: milliseconds,
    total_ms: milliseconds,
    tokens_per_second: z.number().optional(),
  })
  .describe('Extension: where the time went.');

export const warnings = z
  .array(z.string())
  .min(1)
  .optional()
  .describe('Extension: what was asked for and had no effect. On the last chunk of a stream.');

const tokenLogprob = z.object({
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int()).nullable(),
});
export const logprob = tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) });
const logprobs = z
  .object({
    content: z.array(logprob),
    refusal: z.null(),
  })
  .nullable();

const finishReason = z.enum(['stop', 'length', 'tool_calls']);
const functionCall = z.object({ name: z.string(), arguments: z.string() });

export const chatCompletion = z
  .strictObject({
    id: z.string().startsWith('chatcmpl-'),
    object: z.literal('chat.completion'),
    created: z.int(),
    model: z.string(),
    choices: z.array(
      z.strictObject({
        index: z.int(),
        message: z.strictObject({
          role: z.literal('assistant'),
          content: z.string().nullable(),
          refusal: z.null(),
          reasoning_content: z.string().optional().describe('Extension: what the model thought.'),
          tool_calls: z
            .array(z.strictObject({ id: z.string(), type: z.literal('function'), function: functionCall }))
            .min(1)
            .optional(),
        }),
        logprobs,
        finish_reason: finishReason,
      }),
    ),
    usage: usage.optional().describe(ABSENT),
    timings,
  })
  .meta({ id: 'ChatCompletion' });

export const chatCompletionChunk = z
  .strictObject({
    id: z.string().startsWith('chatcmpl-'),
    object: z.literal('chat.completion.chunk'),
    created: z.int(),
    model: z.string(),
    choices: z
      .array(
        z.strictObject({
          index: z.int(),
          delta: z.strictObject({
            role: z.literal('assistant').optional(),
            content: z.string().optional(),
            refusal: z.null().optional(),
            reasoning_content: z.string().optional(),
            tool_calls: z
              .array(
                z.strictObject({
                  index: z.int(),
                  id: z.string().optional(),
                  type: z.literal('function').optional(),
                  function: functionCall.partial(),
                }),
              )
              .optional(),
          }),
          logprobs,
          finish_reason: finishReason.nullable(),
        }),
      )
      .describe('Empty on the chunk that carries the usage.'),
    usage: usage
      .nullish()
      .describe('Only with `stream_options.include_usage`; null but on the last chunk, if it is known.'),
    timings: timings.optional(),
    warnings,
  })
  .meta({ id: 'ChatCompletionChunk' });

export const completion = z
  .strictObject({
    id: z.string().startsWith('cmpl-'),
    object: z.literal('text_completion'),
    created: z.int(),
    model: z.string(),
    choices: z.array(
      z.strictObject({
        text: z.string(),
        index: z.int(),
        logprobs: z
          .object({
            tokens: z.array(z.string()),
            token_logprobs: z.array(z.number()),
            top_logprobs: z.array(z.record(z.string(), z.number())),
            text_offset: z.array(z.int()),
          })
          .nullable(),
        finish_reason: z.enum(['stop', 'length']).nullable(),
      }),
    ),
    usage: usage.nullish(),
    timings: timings.optional(),
    warnings,
  })
  .meta({ id: 'Completion' });

export const embeddingList = z
  .strictObject({
    object: z.literal('list'),
    data: z.array(
      z.strictObject({
        object: z.literal('embedding'),
        index: z.int(),
        embedding: z.union([z.array(z.number()), z.string()]),
      }),
    ),
    model: z.string(),
    usage: z.object({ prompt_tokens: count, total_tokens: count }).optional().describe(ABSENT),
  })
  .meta({ id: 'EmbeddingList' });

export const model = z
  .strictObject({
    id: z.string(),
    object: z.literal('model'),
    created: z.int().describe('When the model was last changed, in seconds since 1970.'),
    owned_by: z.string(),
    capabilities: z.array(z.string()).describe('Extension.'),
    context_length: z.int().optional().describe('Extension.'),
    parameter_size: z.string().optional().describe('Extension.'),
    quantization: z.string().optional().describe('Extension.'),
  })
  .meta({ id: 'Model' });

export const modelList = z
  .strictObject({ object: z.literal('list'), data: z.array(model) })
  .meta({ id: 'ModelList' });

export const errorBody = z
  .strictObject({
    error: z.strictObject({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string().nullable(),
    }),
  })
  .meta({ id: 'Error' });

export const health = z
  .strictObject({
    status: z.literal('ok'),
    uptime_s: z.int(),
    version: z.string(),
    replica: z.string(),
    upstream: z.literal('simulator').optional(),
  })
  .meta({ id: 'Health' });

export const readiness = z
  .strictObject({
    ready: z.boolean(),
    draining: z.boolean(),
    dependencies: z.record(
      z.string(),
      z.strictObject({
        state: z.enum(['up', 'down', 'embedded', 'simulator']),
        detail: z.string().optional(),
      }),
    ),
    upstream: z.literal('simulator').optional(),
  })
  .meta({ id: 'Readiness' });
