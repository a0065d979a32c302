import type { z } from 'zod';
import { GatewayError } from '../../domain/error.ts';
import { ParameterError, type ParameterFault } from '../errors.ts';

type Issue = z.core.$ZodIssue;

/** Parameters that a gateway in front of local models cannot honour: each with the reason that the caller is told. */
export type Refusals = Readonly<
  Record<string, { readonly reason: string; readonly harmless?: (value: unknown) => boolean }>
>;

/**
 * Checks a body against a schema, null being the same as absent for what is optional.
 * @throws ParameterError for the first field at fault, named as in `messages[0].content`.
 */
export function parseBody<S extends z.ZodType>(schema: S, refusals: Refusals, body: unknown): z.output<S> {
  refuseUnsupported(refusals, body);
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (!issue) throw new GatewayError('invalid_request', 'The request body is not valid.');
  throw describe(mostSpecific(issue), body);
}

function refuseUnsupported(refusals: Refusals, body: unknown): void {
  if (typeof body !== 'object' || body === null) return;
  for (const name of Object.keys(body)) {
    const refusal = Object.hasOwn(refusals, name) ? refusals[name] : undefined;
    if (!refusal) continue;
    const value: unknown = Reflect.get(body, name);
    if (value === undefined || value === null || refusal.harmless?.(value)) continue;
    throw new GatewayError('unsupported_parameter', `Unsupported parameter: '${name}'. ${refusal.reason}`, {
      param: name,
    });
  }
}

/** The fields of a body that neither list knows. */
export function unknownFields(body: unknown, schema: z.ZodObject, refusals: Refusals): string[] {
  if (typeof body !== 'object' || body === null) return [];
  return Object.keys(body).filter(
    (name) => !Object.hasOwn(schema.shape, name) && !Object.hasOwn(refusals, name),
  );
}

/** Of a union's alternatives, the fault in the one that came furthest: the others are of another kind altogether. */
function mostSpecific(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  let best = issue as Issue;
  let furthest = 0;
  for (const [first] of issue.errors) {
    if (!first) continue;
    const candidate = mostSpecific(first);
    const distance = 2 * candidate.path.length + (candidate.code === 'invalid_type' ? 0 : 1);
    if (distance <= furthest) continue;
    furthest = distance;
    best = { ...candidate, path: [...issue.path, ...candidate.path] };
  }
  return best;
}

function describe(issue: Issue, body: unknown): ParameterError {
  const param = formatPath(issue.path);
  const value = valueAt(body, issue.path);
  const name = param === '' ? 'the body' : `'${param}'`;
  if (value === undefined) {
    return new ParameterError('missing_required_parameter', param, `Missing required parameter: ${name}.`);
  }
  const fault = faultOf(issue, value);
  const said = issue.message.replace(/^Invalid (?:input|discriminator value|option|string)[:.] ?/, '');
  const detail = said === 'Invalid input' ? '' : `: ${said.charAt(0).toLowerCase()}${said.slice(1)}`;
  const kind = fault === 'invalid_type' ? 'type' : 'value';
  return new ParameterError(fault, param, `Invalid ${kind} for ${name}${detail}.`);
}

function faultOf(issue: Issue, value: unknown): ParameterFault {
  if (issue.code === 'invalid_type') return 'invalid_type';
  if (issue.code === 'invalid_union' && issue.errors.length > 0) return 'invalid_type';
  if (issue.code !== 'too_small' && issue.code !== 'too_big') return 'invalid_value';
  const isSmall = issue.code === 'too_small';
  if (issue.origin === 'string') return isSmall ? 'empty_string' : 'string_above_max_length';
  if (issue.origin === 'array') return isSmall ? 'empty_array' : 'array_above_max_length';
  if (Number.isInteger(value)) return isSmall ? 'integer_below_min_value' : 'integer_above_max_value';
  return isSmall ? 'decimal_below_min_value' : 'decimal_above_max_value';
}

/** `['messages', 0, 'content']` as `messages[0].content`. Keys that the caller made up are cut to a sane length. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += `${text === '' ? '' : '.'}${String(step).slice(0, 64)}`;
  }
  return text;
}

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  let value = body;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = Reflect.get(value, step);
  }
  return value;
}
