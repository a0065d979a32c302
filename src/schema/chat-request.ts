import {
  BOUNDS,
  type Bound,
  MAX_MODEL_NAME,
  MAX_STOPS,
  MAX_TOOLS,
  NAME,
  NAME_RULE,
} from '../domain/bounds.ts';
import type {
  ChatRequest,
  Json,
  JsonObject,
  ResponseFormat,
  Sampling,
  Tool,
  ToolChoice,
} from '../domain/chat.ts';
import { decodeMessages } from './chat-messages.ts';
import { ArgumentError } from './errors.ts';
import type { ChatCompletionInput } from './types/chat-input.ts';

type Input = typeof ChatCompletionInput.$inferInput;

/** @throws ArgumentError for the first field that is wrong. */
export function decodeChat(input: Input): ChatRequest {
  const tools = decodeTools(input.tools ?? []);
  const top = decodeLogprobs(input);
  return {
    kind: 'chat',
    model: checkModel(input.model),
    messages: decodeMessages(input.messages),
    tools,
    toolChoice: decodeToolChoice(input.toolChoice, tools),
    parallelToolCalls: input.parallelToolCalls,
    responseFormat: decodeResponseFormat(input.responseFormat),
    sampling: decodeSampling(input),
    choices: within('n', input.n, BOUNDS.choices) ?? 1,
    ...(input.reasoningEffort && { reasoningEffort: input.reasoningEffort }),
    ...(top !== undefined && { logprobs: { top } }),
    ...decodeKeepAlive(input.keepAliveSeconds),
  };
}

export function checkModel(model: string): string {
  if (model.length > 0 && model.length <= MAX_MODEL_NAME) return model;
  throw new ArgumentError('input.model', `input.model must have 1 to ${MAX_MODEL_NAME} characters.`);
}

export function decodeKeepAlive(seconds: number | null | undefined): { keepAlive?: number } {
  return typeof seconds === 'number' ? { keepAlive: seconds } : {};
}

/** @returns undefined for what is null or absent. */
export function within(
  name: string,
  value: number | null | undefined,
  { min, max }: Bound,
): number | undefined {
  if (value === null || value === undefined) return undefined;
  if (value >= min && value <= max) return value;
  const range = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : `${min} to ${max}`;
  throw new ArgumentError(`input.${name}`, `input.${name} must be ${range}.`);
}

function decodeSampling(input: Input): Sampling {
  const maxOutputTokens = within('maxCompletionTokens', input.maxCompletionTokens, BOUNDS.maxOutputTokens);
  const temperature = within('temperature', input.temperature, BOUNDS.temperature);
  const topP = within('topP', input.topP, BOUNDS.topP);
  const topK = within('topK', input.topK, BOUNDS.topK);
  const minP = within('minP', input.minP, BOUNDS.minP);
  const frequencyPenalty = within('frequencyPenalty', input.frequencyPenalty, BOUNDS.frequencyPenalty);
  const presencePenalty = within('presencePenalty', input.presencePenalty, BOUNDS.presencePenalty);
  const seed = input.seed ?? undefined;
  const stop = decodeStop(input.stop ?? []);
  return {
    ...(maxOutputTokens !== undefined && { maxOutputTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { topP }),
    ...(topK !== undefined && { topK }),
    ...(minP !== undefined && { minP }),
    ...(frequencyPenalty !== undefined && { frequencyPenalty }),
    ...(presencePenalty !== undefined && { presencePenalty }),
    ...(seed !== undefined && { seed }),
    ...(stop.length > 0 && { stop }),
  };
}

function decodeStop(stop: readonly string[]): readonly string[] {
  if (stop.length > MAX_STOPS) {
    throw new ArgumentError('input.stop', `input.stop must have at most ${MAX_STOPS} texts.`);
  }
  const empty = stop.indexOf('');
  if (empty < 0) return stop;
  throw new ArgumentError(`input.stop[${empty}]`, `input.stop[${empty}] must not be empty.`);
}

function decodeLogprobs({ logprobs, topLogprobs }: Input): number | undefined {
  const top = within('topLogprobs', topLogprobs, BOUNDS.topLogprobs);
  if (logprobs) return top ?? 0;
  if (top === undefined) return undefined;
  throw new ArgumentError('input.topLogprobs', 'input.topLogprobs is only allowed where logprobs is true.');
}

function decodeTools(tools: readonly NonNullable<Input['tools']>[number][]): Tool[] {
  if (tools.length > MAX_TOOLS) {
    throw new ArgumentError('input.tools', `input.tools must have at most ${MAX_TOOLS} tools.`);
  }
  return tools.map(({ name, description, parameters }, index) => {
    const path = `input.tools[${index}]`;
    return {
      name: checkName(name, `${path}.name`),
      ...(typeof description === 'string' && { description }),
      ...(parameters !== null &&
        parameters !== undefined && { parameters: checkObject(parameters, `${path}.parameters`) }),
    };
  });
}

function decodeToolChoice(choice: Input['toolChoice'], tools: readonly Tool[]): ToolChoice {
  if (choice?.mode === 'none') return { type: 'none' };
  if (!choice || choice.mode === 'auto') return { type: tools.length > 0 ? 'auto' : 'none' };
  if (tools.length === 0) {
    throw new ArgumentError('input.toolChoice', 'input.toolChoice is only allowed where there are tools.');
  }
  if (choice.mode === 'required') return { type: 'required' };
  const name = choice.tool;
  if (name !== undefined && tools.some((tool) => tool.name === name)) return { type: 'tool', name };
  throw new ArgumentError('input.toolChoice.tool', 'input.toolChoice.tool is none of the tools.');
}

function decodeResponseFormat(format: Input['responseFormat']): ResponseFormat {
  if (!format?.jsonSchema) return { type: format?.type ?? 'text' };
  const { name, schema } = format.jsonSchema;
  const path = 'input.responseFormat.jsonSchema';
  return {
    type: 'jsonSchema',
    name: checkName(name, `${path}.name`),
    schema: checkObject(schema, `${path}.schema`),
  };
}

function checkName(name: string, path: string): string {
  if (NAME.test(name)) return name;
  throw new ArgumentError(path, `${path} must be ${NAME_RULE}.`);
}

function checkObject(value: Json | undefined, path: string): JsonObject {
  if (isObject(value)) return value;
  throw new ArgumentError(path, `${path} must be a JSON object.`);
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
