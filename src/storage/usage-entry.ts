import { ERRORS, type ErrorCode } from '../domain/error.ts';
import type { UsageRecord } from '../domain/record.ts';
import type { Timings, Usage } from '../domain/usage.ts';

/** A usage record as an entry of the Redis stream: its JSON, with the date as ISO 8601. */
export function encodeRecord(record: UsageRecord): string {
  return JSON.stringify(record);
}

/** @throws Error where the entry is not a record, without quoting it. */
export function parseRecord(entry: string): UsageRecord {
  const value = toObject(JSON.parse(entry));
  const startedAt = new Date(text(value, 'startedAt'));
  if (Number.isNaN(startedAt.getTime())) throw malformed('startedAt');
  return {
    id: text(value, 'id'),
    requestId: text(value, 'requestId'),
    keyId: text(value, 'keyId'),
    protocol: oneOf(value, 'protocol', PROTOCOLS),
    operation: oneOf(value, 'operation', OPERATIONS),
    model: text(value, 'model'),
    ...(value['backend'] !== undefined && { backend: text(value, 'backend') }),
    status: oneOf(value, 'status', STATUSES),
    ...(value['errorCode'] !== undefined && { errorCode: oneOf(value, 'errorCode', ERROR_CODES) }),
    ...(value['finishReason'] !== undefined && {
      finishReason: oneOf(value, 'finishReason', FINISH_REASONS),
    }),
    streamed: value['streamed'] === true,
    usage: parseUsage(toObject(value['usage'])),
    timings: numbers(toObject(value['timings']), TIMINGS, Number.isFinite),
    startedAt,
  };
}

const PROTOCOLS = ['rest', 'graphql'] as const satisfies readonly UsageRecord['protocol'][];
const OPERATIONS = ['chat', 'completion', 'embedding'] as const satisfies readonly UsageRecord['operation'][];
const STATUSES = ['ok', 'error', 'cancelled'] as const satisfies readonly UsageRecord['status'][];
const FINISH_REASONS = [
  'stop',
  'length',
  'toolCalls',
] as const satisfies readonly UsageRecord['finishReason'][];
const ERROR_CODES = Object.keys(ERRORS) as readonly ErrorCode[];
const COUNTS = ['promptTokens', 'completionTokens', 'reasoningTokens', 'cachedTokens'] as const;
const TIMINGS = [
  'queueMs',
  'loadMs',
  'promptMs',
  'firstTokenMs',
  'totalMs',
  'tokensPerSecond',
] as const satisfies readonly (keyof Timings)[];

function parseUsage(value: Fields): Usage {
  return { ...numbers(value, COUNTS, isCount), ...(value['estimated'] === true && { estimated: true }) };
}

type Fields = Readonly<Record<string, unknown>>;

function toObject(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('an object');
  return value as Fields;
}

function text(value: Fields, field: string): string {
  const found = value[field];
  if (typeof found !== 'string') throw malformed(field);
  return found;
}

function oneOf<T extends string>(value: Fields, field: string, allowed: readonly T[]): T {
  const found = allowed.find((option) => option === value[field]);
  if (found === undefined) throw malformed(field);
  return found;
}

/** The numbers among the named fields that pass; another is as good as unknown. */
function numbers<K extends string>(
  value: Fields,
  names: readonly K[],
  passes: (number: number) => boolean,
): { readonly [N in K]?: number } {
  const found: { [N in K]?: number } = {};
  for (const name of names) {
    const number = value[name];
    if (typeof number === 'number' && passes(number)) found[name] = number;
  }
  return found;
}

function isCount(number: number): boolean {
  return Number.isSafeInteger(number) && number >= 0;
}

function malformed(field: string): Error {
  return new Error(`a usage entry lacks a valid ${field}`);
}
