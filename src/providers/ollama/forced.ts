import type { ChatRequest, Json, JsonObject, Tool } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import { isWireObject } from './wire.ts';

/**
 * Ollama has no way to force a tool call, and its models call none while their answers are held to a format. Both are made
 * real by other means: the tools are not sent as tools; instead the answer is held to a JSON Schema of the allowed calls,
 * the tools are described in a system message, and the text that comes back is read as the calls it can only be.
 */
export interface ForcedCall {
  /** The schema that the answer is held to. */
  readonly format: JsonObject;
  /** Describes the tools and the shape to answer in. */
  readonly instruction: string;
  /** Names that the answer may call. */
  readonly allowed: ReadonlySet<string>;
  /** Whether the answer is a list of calls under `calls`, or one call. */
  readonly several: boolean;
  /** Whether the model may answer in the response format instead, under `answer`. */
  readonly optional: boolean;
}

/** What a forced answer comes to: calls, or the text of the answer given instead. */
export interface ForcedAnswer {
  readonly calls: readonly { readonly name: string; readonly arguments: string }[];
  readonly text: string;
}

/**
 * How to force the calls that a request demands, or leaves to the model beside a response format; `undefined` where there
 * are none of these.
 * @throws GatewayError `invalid_request` where the demanded tool is not among the request's tools.
 */
export function forcedCall(request: ChatRequest): ForcedCall | undefined {
  const { toolChoice, tools, parallelToolCalls } = request;
  const answer = answerSchema(request);
  if (toolChoice.type !== 'required' && toolChoice.type !== 'tool' && !answer) return undefined;
  const wanted = toolChoice.type === 'tool' ? tools.filter((tool) => tool.name === toolChoice.name) : tools;
  if (wanted.length === 0) {
    const message =
      toolChoice.type === 'tool'
        ? 'The tool to be called is not among the tools.'
        : 'A tool call is required, but there are no tools.';
    throw new GatewayError('invalid_request', message, { param: 'tool_choice' });
  }
  const several = toolChoice.type !== 'tool' && parallelToolCalls;
  return {
    format: callFormat(wanted, several, answer),
    instruction: describeTools(wanted, several, answer),
    allowed: new Set(wanted.map((tool) => tool.name)),
    several,
    optional: answer !== undefined,
  };
}

/** What the model may answer instead of calling a tool; `undefined` where it must call one, or may use its own words. */
function answerSchema({ toolChoice, tools, responseFormat }: ChatRequest): JsonObject | undefined {
  if (toolChoice.type !== 'auto' || tools.length === 0 || responseFormat.type === 'text') return undefined;
  return responseFormat.type === 'json' ? { type: 'object' } : responseFormat.schema;
}

/**
 * The calls in a forced answer, their arguments as JSON text, or the JSON text of what was answered instead.
 * @throws GatewayError `upstream_invalid_output` where the text is not what the schema demanded.
 */
export function parseForced(text: string, forced: ForcedCall): ForcedAnswer {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw notACall('it is not JSON', text);
  }
  if (forced.optional && isWireObject(answer) && answer['answer'] !== undefined) {
    return { calls: [], text: JSON.stringify(answer['answer']) };
  }
  const calls = forced.several && isWireObject(answer) ? answer['calls'] : [answer];
  if (!Array.isArray(calls) || calls.length === 0) throw notACall('it has no calls', text);
  const parsed = calls.map((call: unknown) => {
    if (!isWireObject(call)) throw notACall('a call is not an object', text);
    const { name, arguments: args } = call;
    if (typeof name !== 'string' || !forced.allowed.has(name))
      throw notACall('it calls no allowed tool', text);
    if (!isWireObject(args)) throw notACall('the arguments are not an object', text);
    return { name, arguments: JSON.stringify(args) };
  });
  return { calls: parsed, text: '' };
}

/** What a forced answer that was cut short comes to: half a call is none, but half an answer is what there is of it. */
export function readCutShort(text: string, { optional }: ForcedCall): ForcedAnswer {
  const opening = optional ? /^\s*\{\s*"answer"\s*:\s*/.exec(text)?.[0] : undefined;
  return { calls: [], text: opening === undefined ? '' : text.slice(opening.length) };
}

function notACall(reason: string, text: string): GatewayError {
  return new GatewayError(
    'upstream_invalid_output',
    'The model did not answer with the tool call it was held to.',
    {
      detail: `forced tool call: ${reason} (${text.length} characters)`,
    },
  );
}

function callFormat(tools: readonly Tool[], several: boolean, answer: JsonObject | undefined): JsonObject {
  const definitions: Record<string, Json> = {};
  const calls = tools.map((tool, index) => callSchema(tool, `tool${index}`, definitions));
  const [only] = calls;
  const call = calls.length === 1 && only ? only : { anyOf: calls };
  const called = several ? exactly({ calls: { type: 'array', minItems: 1, items: call } }) : call;
  const format: JsonObject = answer
    ? { anyOf: [called, exactly({ answer: embed(answer, 'answer', definitions) })] }
    : called;
  return Object.keys(definitions).length > 0 ? { ...format, $defs: definitions } : format;
}

function callSchema(tool: Tool, definition: string, definitions: Record<string, Json>): JsonObject {
  const parameters = tool.parameters ?? { type: 'object' };
  return exactly({ name: { const: tool.name }, arguments: embed(parameters, definition, definitions) });
}

/** The schema of an object with these properties and no others. */
function exactly(properties: JsonObject): JsonObject {
  return { type: 'object', properties, required: Object.keys(properties), additionalProperties: false };
}

/**
 * A schema as part of another. References count from the root, which is another now: a schema with references moves as a
 * whole to a place that these can name.
 */
function embed(schema: JsonObject, definition: string, definitions: Record<string, Json>): JsonObject {
  if (!hasReference(schema)) return schema;
  definitions[definition] = withReferencesUnder(schema, `#/$defs/${definition}`);
  return { $ref: `#/$defs/${definition}` };
}

function hasReference(schema: Json): boolean {
  if (typeof schema !== 'object' || schema === null) return false;
  if (!Array.isArray(schema) && typeof (schema as JsonObject)['$ref'] === 'string') return true;
  return Object.values(schema).some(hasReference);
}

function withReferencesUnder(schema: Json, root: string): Json {
  if (typeof schema !== 'object' || schema === null) return schema;
  if (Array.isArray(schema)) return schema.map((item: Json) => withReferencesUnder(item, root));
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) =>
      key === '$ref' && typeof value === 'string' && value.startsWith('#')
        ? [key, root + value.slice(1)]
        : [key, withReferencesUnder(value, root)],
    ),
  );
}

function describeTools(tools: readonly Tool[], several: boolean, answer: JsonObject | undefined): string {
  const list = tools.map(({ name, description, parameters }) =>
    JSON.stringify({ name, ...(description !== undefined && { description }), parameters: parameters ?? {} }),
  );
  const shape = several
    ? '{"calls": [{"name": <tool>, "arguments": {...}}, ...]}, with one entry for each call that is needed'
    : '{"name": <tool>, "arguments": {...}}';
  if (answer) {
    return [
      'You can call tools before you answer. The tools, with the JSON Schema of their arguments:',
      ...list,
      `To call tools, write only JSON of this shape: ${shape}.`,
      'To answer, write only JSON of this shape: {"answer": <answer>}, where the answer fits this JSON Schema:',
      JSON.stringify(answer),
    ].join('\n');
  }
  return [
    'You must answer by calling a tool. The tools, with the JSON Schema of their arguments:',
    ...list,
    `Answer only with JSON of this shape: ${shape}.`,
  ].join('\n');
}
