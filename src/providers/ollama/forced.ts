import type { ChatRequest, Json, JsonObject, Tool } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import { isWireObject } from './wire.ts';

/**
 * Ollama has no way to force a tool call, so it is made real by other means: the tools are not sent as tools; instead
 * the answer is held to a JSON Schema of the allowed calls, the tools are described in a system message, and the text
 * that comes back is read as the calls it can only be.
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
}

/**
 * How to force the calls a request demands; `undefined` where it demands none.
 * @throws GatewayError `invalid_request` where the demanded tool is not among the request's tools.
 */
export function forcedCall({ toolChoice, tools, parallelToolCalls }: ChatRequest): ForcedCall | undefined {
  if (toolChoice.type !== 'required' && toolChoice.type !== 'tool') return undefined;
  const wanted = toolChoice.type === 'tool' ? tools.filter((tool) => tool.name === toolChoice.name) : tools;
  if (wanted.length === 0) {
    const message =
      toolChoice.type === 'tool'
        ? 'The tool to be called is not among the tools.'
        : 'A tool call is required, but there are no tools.';
    throw new GatewayError('invalid_request', message, { param: 'tool_choice' });
  }
  const several = toolChoice.type === 'required' && parallelToolCalls;
  return {
    format: callFormat(wanted, several),
    instruction: describeTools(wanted, several),
    allowed: new Set(wanted.map((tool) => tool.name)),
    several,
  };
}

/**
 * The calls in a forced answer, their arguments as JSON text.
 * @throws GatewayError `upstream_invalid_output` where the text is not what the schema demanded.
 */
export function parseForcedCalls(
  text: string,
  forced: ForcedCall,
): readonly { readonly name: string; readonly arguments: string }[] {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw notACall('it is not JSON', text);
  }
  const calls = forced.several && isWireObject(answer) ? answer['calls'] : [answer];
  if (!Array.isArray(calls) || calls.length === 0) throw notACall('it has no calls', text);
  return calls.map((call: unknown) => {
    if (!isWireObject(call)) throw notACall('a call is not an object', text);
    const { name, arguments: args } = call;
    if (typeof name !== 'string' || !forced.allowed.has(name))
      throw notACall('it calls no allowed tool', text);
    if (!isWireObject(args)) throw notACall('the arguments are not an object', text);
    return { name, arguments: JSON.stringify(args) };
  });
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

function callFormat(tools: readonly Tool[], several: boolean): JsonObject {
  const definitions: Record<string, Json> = {};
  const calls = tools.map((tool, index) => callSchema(tool, `tool${index}`, definitions));
  const [only] = calls;
  const call = calls.length === 1 && only ? only : { anyOf: calls };
  const format: JsonObject = several
    ? {
        type: 'object',
        properties: { calls: { type: 'array', minItems: 1, items: call } },
        required: ['calls'],
        additionalProperties: false,
      }
    : call;
  return Object.keys(definitions).length > 0 ? { ...format, $defs: definitions } : format;
}

function callSchema(tool: Tool, definition: string, definitions: Record<string, Json>): JsonObject {
  const parameters = tool.parameters ?? { type: 'object' };
  let argumentsSchema: JsonObject = parameters;
  if (hasReference(parameters)) {
    // References count from the root of a schema, and inside the schema of calls the root is another: the tool's
    // schema moves as a whole to a place that its references can name.
    definitions[definition] = withReferencesUnder(parameters, `#/$defs/${definition}`);
    argumentsSchema = { $ref: `#/$defs/${definition}` };
  }
  return {
    type: 'object',
    properties: { name: { const: tool.name }, arguments: argumentsSchema },
    required: ['name', 'arguments'],
    additionalProperties: false,
  };
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

function describeTools(tools: readonly Tool[], several: boolean): string {
  const list = tools.map(({ name, description, parameters }) =>
    JSON.stringify({ name, ...(description !== undefined && { description }), parameters: parameters ?? {} }),
  );
  const shape = several
    ? '{"calls": [{"name": <tool>, "arguments": {...}}, ...]}, with one entry for each call that is needed'
    : '{"name": <tool>, "arguments": {...}}';
  return [
    'You must answer by calling a tool. The tools, with the JSON Schema of their arguments:',
    ...list,
    `Answer only with JSON of this shape: ${shape}.`,
  ].join('\n');
}
