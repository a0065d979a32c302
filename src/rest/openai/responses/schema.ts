import { z } from 'zod';
import { count, estimated, logprob, timings, warnings } from '../response-schema.ts';

/* What `POST /v1/responses` answers, under the rules of the other answers' schemas. */

const itemStatus = z.enum(['in_progress', 'completed', 'incomplete']);
const outputText = z.strictObject({
  type: z.literal('output_text'),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: z.array(logprob),
});
const reasoningText = z.strictObject({ type: z.literal('reasoning_text'), text: z.string() });
const summaryText = z.strictObject({ type: z.literal('summary_text'), text: z.string() });

const message = z.strictObject({
  id: z.string().startsWith('msg_'),
  type: z.literal('message'),
  status: itemStatus,
  role: z.literal('assistant'),
  content: z.array(outputText),
});
const reasoning = z.strictObject({
  id: z.string().startsWith('rs_'),
  type: z.literal('reasoning'),
  status: itemStatus,
  summary: z
    .array(summaryText)
    .describe('What the model thought, where a summary was asked for: nobody makes one.'),
  content: z.array(reasoningText).optional().describe('What the model thought, otherwise.'),
});
const functionCall = z.strictObject({
  id: z.string().startsWith('fc_'),
  type: z.literal('function_call'),
  status: itemStatus,
  call_id: z.string().min(1),
  name: z.string(),
  arguments: z.string(),
});
const outputItem = z.discriminatedUnion('type', [message, reasoning, functionCall]);

const usage = z.strictObject({
  input_tokens: count,
  input_tokens_details: z.strictObject({ cached_tokens: count }),
  output_tokens: count,
  output_tokens_details: z.strictObject({ reasoning_tokens: count }),
  total_tokens: count,
  estimated,
});

const asAskedFor = () => z.unknown().describe('As it was asked for.');

export const response = z
  .strictObject({
    id: z.string().startsWith('resp_'),
    object: z.literal('response'),
    created_at: z.int(),
    completed_at: z.int().nullable(),
    status: z.enum(['in_progress', 'completed', 'incomplete', 'failed']),
    error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
    incomplete_details: z.strictObject({ reason: z.literal('max_output_tokens') }).nullable(),
    model: z.string(),
    output: z.array(outputItem),
    usage: usage
      .nullable()
      .describe('Null where nobody knows the counts. The details are 0 where nobody knows theirs.'),
    background: z.literal(false),
    instructions: z.string().nullable(),
    max_output_tokens: z.int().nullable(),
    metadata: z.record(z.string(), z.string()),
    parallel_tool_calls: z.boolean(),
    previous_response_id: z.null(),
    reasoning: z.strictObject({ effort: z.string().nullable(), summary: z.string().nullable() }),
    store: z.literal(false),
    temperature: z.number().nullable().describe('Null: the model’s own default.'),
    text: z.strictObject({ format: asAskedFor() }),
    tool_choice: asAskedFor(),
    tools: z.array(asAskedFor()),
    top_p: z.number().nullable().describe('Null: the model’s own default.'),
    truncation: z.literal('disabled'),
    timings: timings.optional(),
    warnings,
  })
  .meta({ id: 'Response' });

/** Where an event belongs, and what it brings. */
const event = <T extends string, S extends z.ZodRawShape>(type: T, shape: S) =>
  z.strictObject({ type: z.literal(type), sequence_number: count, ...shape });
const inItem = { item_id: z.string(), output_index: count };
const inContent = { ...inItem, content_index: z.literal(0) };
const inSummary = { ...inItem, summary_index: z.literal(0) };
const delta = z.string();
const text = z.string();

export const responseEvent = z
  .discriminatedUnion('type', [
    event('response.created', { response }),
    event('response.in_progress', { response }),
    event('response.output_item.added', { output_index: count, item: outputItem }),
    event('response.content_part.added', { ...inContent, part: z.union([outputText, reasoningText]) }),
    event('response.output_text.delta', { ...inContent, delta, logprobs: z.array(logprob) }),
    event('response.output_text.done', { ...inContent, text, logprobs: z.array(logprob) }),
    event('response.reasoning_text.delta', { ...inContent, delta }),
    event('response.reasoning_text.done', { ...inContent, text }),
    event('response.content_part.done', { ...inContent, part: z.union([outputText, reasoningText]) }),
    event('response.reasoning_summary_part.added', { ...inSummary, part: summaryText }),
    event('response.reasoning_summary_text.delta', { ...inSummary, delta }),
    event('response.reasoning_summary_text.done', { ...inSummary, text }),
    event('response.reasoning_summary_part.done', { ...inSummary, part: summaryText }),
    event('response.function_call_arguments.delta', { ...inItem, delta }),
    event('response.function_call_arguments.done', { ...inItem, name: z.string(), arguments: z.string() }),
    event('response.output_item.done', { output_index: count, item: outputItem }),
    event('response.completed', { response }),
    event('response.incomplete', { response }),
    event('response.failed', { response }),
  ])
  .meta({ id: 'ResponseEvent' });
