import { ApiError, encodeJson, type Json, type JsonObject, quote } from './wire.ts';

/**
 * What an answer is bound to by `format`: undefined where it is free.
 * @throws ApiError 500 where the format is neither "json" nor a schema.
 */
export function decodeFormat(format: unknown): JsonObject | 'json' | undefined {
  if (format === undefined || format === null || format === '') return undefined;
  if (format === 'json') return 'json';
  if (typeof format === 'object' && !Array.isArray(format)) return format as JsonObject;
  throw new ApiError(
    500,
    `invalid format: ${quote(encodeJson(format))}; expected "json" or a valid JSON Schema object`,
  );
}

const DEEPEST = 32;

/**
 * The smallest sensible value that a JSON Schema describes. The same schema always gives the same value. Understood are
 * type, enum, const, default-free objects with `required`, arrays with `minItems` and `prefixItems`, string and number
 * bounds, anyOf, oneOf, allOf, and references into the schema itself.
 * @param said what a string is made of where the schema leaves it open.
 */
export function instanceOf(schema: JsonObject, said: string): Json {
  return instance(schema, { root: schema, said, depth: 0 });
}

interface Place {
  readonly root: JsonObject;
  readonly said: string;
  readonly depth: number;
}

function instance(schema: Json | undefined, place: Place): Json {
  if (!isObject(schema) || place.depth > DEEPEST) return null;
  const deeper = { ...place, depth: place.depth + 1 };
  if (typeof schema['$ref'] === 'string') return instance(resolve(schema['$ref'], place.root), deeper);
  if (schema['const'] !== undefined) return schema['const'];
  if (Array.isArray(schema['enum'])) return (schema['enum'] as readonly Json[])[0] ?? null;
  const alternatives = schema['anyOf'] ?? schema['oneOf'];
  if (Array.isArray(alternatives)) return instance(alternatives[0] as Json | undefined, deeper);
  if (Array.isArray(schema['allOf'])) {
    return instance(Object.assign({}, ...(schema['allOf'] as readonly JsonObject[])) as JsonObject, deeper);
  }
  switch (typeOf(schema)) {
    case 'object':
      return objectOf(schema, deeper);
    case 'array':
      return arrayOf(schema, deeper);
    case 'string':
      return stringOf(schema, place.said);
    case 'integer':
    case 'number':
      return numberOf(schema);
    case 'boolean':
      return true;
    default:
      return null;
  }
}

function typeOf(schema: JsonObject): Json | undefined {
  const type = schema['type'];
  if (Array.isArray(type)) return (type as readonly Json[]).find((name) => name !== 'null') ?? 'null';
  if (type !== undefined) return type;
  if (schema['properties'] !== undefined) return 'object';
  return schema['items'] === undefined ? undefined : 'array';
}

function objectOf(schema: JsonObject, place: Place): JsonObject {
  const properties = isObject(schema['properties']) ? schema['properties'] : {};
  const required = Array.isArray(schema['required']) ? (schema['required'] as readonly string[]) : [];
  // All of them while the schema is shallow; deep down only what must be, so that recursive schemas come to an end.
  const names = place.depth > 4 ? required : [...new Set([...Object.keys(properties), ...required])];
  return Object.fromEntries(names.map((name) => [name, instance(properties[name], place)]));
}

function arrayOf(schema: JsonObject, place: Place): readonly Json[] {
  const prefix = Array.isArray(schema['prefixItems']) ? (schema['prefixItems'] as readonly Json[]) : [];
  const atLeast = bound(schema, 'minItems') ?? (place.depth > 4 ? 0 : 1);
  const length = Math.min(Math.max(atLeast, prefix.length), bound(schema, 'maxItems') ?? 1000, 1000);
  return Array.from({ length }, (_, at) => instance(prefix[at] ?? schema['items'], place));
}

const FORMATS: Readonly<Record<string, string>> = {
  'date-time': '2026-01-01T00:00:00Z',
  date: '2026-01-01',
  time: '00:00:00Z',
  email: 'simulator@example.com',
  uri: 'https://example.com/',
  uuid: '00000000-0000-4000-8000-000000000000',
};

function stringOf(schema: JsonObject, said: string): string {
  const format = schema['format'];
  if (typeof format === 'string' && Object.hasOwn(FORMATS, format)) return FORMATS[format] ?? '';
  const text = said === '' ? 'simulated' : said;
  const atLeast = Math.min(bound(schema, 'minLength') ?? 0, 100_000);
  return text.padEnd(atLeast, ' simulated').slice(0, bound(schema, 'maxLength') ?? 40 + atLeast);
}

function numberOf(schema: JsonObject): number {
  const least = bound(schema, 'minimum') ?? (bound(schema, 'exclusiveMinimum') ?? 0) + 1;
  const most =
    bound(schema, 'maximum') ?? (bound(schema, 'exclusiveMaximum') ?? Number.POSITIVE_INFINITY) - 1;
  const value = Math.min(least, most);
  const step = bound(schema, 'multipleOf');
  return step === undefined || step <= 0 ? value : Math.ceil(value / step) * step;
}

function bound(schema: JsonObject, name: string): number | undefined {
  const value = schema[name];
  return typeof value === 'number' ? value : undefined;
}

/** A pointer such as `#/$defs/Node`. */
function resolve(reference: string, root: JsonObject): Json | undefined {
  let at: Json | undefined = root;
  for (const part of reference.replace(/^#\/?/, '').split('/')) {
    if (part === '') continue;
    const key = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
    at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined;
  }
  return at;
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
