import type { z } from 'zod';
import type { ChatRequest, Message, ResponseFormat } from '../../../domain/chat.ts';
import { ParameterError } from '../../errors.ts';
import { decodeFunction, decodeSampling, keepAliveOf } from '../request.ts';
import { type Choice, chooseTools } from '../tools.ts';
import { parseBody } from '../validation.ts';
import { decodeItems } from './items.ts';
import { RESPONSE_REFUSALS, responseRequest } from './parameters.ts';

type Body = z.output<typeof responseRequest>;
type WireTool = NonNullable<Body['tools']>[number];
type WireFunction = Extract<WireTool, { type: 'function' }>;

export interface DecodedResponse {
  readonly request: ChatRequest;
  readonly stream: boolean;
  /** Where the answer shows what the model thought: as content of its own, or as the summary that was asked for. */
  readonly thoughts: 'content' | 'summary';
  /** What of the request the response repeats. */
  readonly echo: ResponseEcho;
  /** What was asked for and has no effect, one sentence each. */
  readonly warnings: readonly string[];
}

export type ResponseEcho = ReturnType<typeof encodeEcho>;

/** @throws GatewayError for the first parameter that is wrong or not supported. */
export function decodeResponse(body: unknown): DecodedResponse {
  const parsed = parseBody(responseRequest, RESPONSE_REFUSALS, body);
  const { reasoning, top_logprobs: top } = parsed;
  const functions = requireFunctions(parsed.tools ?? []);
  const echo = encodeEcho(parsed, functions);
  const wantsLogprobs = parsed.include?.includes('message.output_text.logprobs') || typeof top === 'number';
  return {
    request: {
      kind: 'chat',
      model: parsed.model,
      messages: decodeInput(parsed),
      ...chooseTools(functions.map(decodeFunction), decodeChoice(parsed.tool_choice ?? 'auto')),
      parallelToolCalls: parsed.parallel_tool_calls ?? true,
      responseFormat: decodeFormat(parsed.text?.format),
      sampling: decodeSampling(parsed, parsed.max_output_tokens ?? undefined),
      choices: 1,
      ...(reasoning?.effort && { reasoningEffort: reasoning.effort }),
      ...(wantsLogprobs && { logprobs: { top: top ?? 0 } }),
      ...keepAliveOf(parsed),
    },
    stream: parsed.stream ?? false,
    thoughts: echo.reasoning.summary === null ? 'content' : 'summary',
    echo,
    warnings: warningsOf(parsed),
  };
}

function decodeInput({ instructions, input }: Body): Message[] {
  const messages = decodeItems(typeof input === 'string' ? [{ role: 'user', content: input }] : input);
  if (typeof instructions !== 'string' || instructions === '') return messages;
  return [{ role: 'system', content: [{ type: 'text', text: instructions }] }, ...messages];
}

function isFunction(tool: WireTool): tool is WireFunction {
  return tool.type === 'function';
}

/** Clients that run tools themselves offer others beside them as a matter of course; who offers only others needs them. */
function requireFunctions(tools: readonly WireTool[]): WireFunction[] {
  const functions = tools.filter(isFunction);
  if (functions.length > 0 || tools.length === 0) return functions;
  throw new ParameterError(
    'unsupported_value',
    'tools[0].type',
    "Unsupported value for 'tools[0].type': there are no tools here but functions that the caller runs.",
  );
}

function decodeChoice(choice: NonNullable<Body['tool_choice']>): Choice {
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') return { tool: { name: choice.name, at: 'tool_choice.name' } };
  return {
    mode: choice.mode,
    among: choice.tools.map(({ name }, index) => ({ name, at: `tool_choice.tools[${index}].name` })),
  };
}

function decodeFormat(format: NonNullable<Body['text']>['format']): ResponseFormat {
  if (!format || format.type === 'text') return { type: 'text' };
  if (format.type === 'json_object') return { type: 'json' };
  return { type: 'jsonSchema', name: format.name, schema: format.schema };
}

/** The types of the official SDKs leave out none of these. */
function encodeEcho(parsed: Body, functions: readonly WireFunction[]) {
  const { reasoning, text } = parsed;
  return {
    background: false,
    instructions: parsed.instructions ?? null,
    max_output_tokens: parsed.max_output_tokens ?? null,
    metadata: parsed.metadata ?? {},
    parallel_tool_calls: parsed.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: {
      effort: reasoning?.effort ?? null,
      summary: reasoning?.summary ?? reasoning?.generate_summary ?? null,
    },
    store: false,
    temperature: parsed.temperature ?? null,
    text: { format: text?.format ?? { type: 'text' as const } },
    tool_choice: parsed.tool_choice ?? ('auto' as const),
    tools: functions.map(({ type, name, description, parameters, strict }) => ({
      type,
      name,
      description: description ?? null,
      parameters: parameters ?? null,
      strict: strict ?? null,
    })),
    top_p: parsed.top_p ?? null,
    truncation: 'disabled' as const,
  };
}

function warningsOf({ text, store, truncation, tools }: Body): string[] {
  const verbosity = text?.verbosity ?? 'medium';
  const isLeftOut = tools?.some((tool) => !isFunction(tool));
  return [
    ...(isLeftOut ? ["Of 'tools', only the functions have an effect."] : []),
    ...(verbosity === 'medium' ? [] : ["'text.verbosity' has no effect."]),
    ...(store === true ? ["'store' has no effect: responses are not stored."] : []),
    ...(truncation === 'auto' ? ["'truncation' has no effect: nothing of the input is left out."] : []),
  ];
}
