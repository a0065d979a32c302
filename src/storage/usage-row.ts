import type { UsageRecord } from '../domain/record.ts';
import { isoTime } from '../domain/time.ts';
import type { Timings, Usage } from '../domain/usage.ts';

/** The columns of `usage_records` with their types, which are also the names in the JSON that carries rows there. */
const COLUMNS = {
  id: 'text',
  request_id: 'text',
  key_id: 'text',
  protocol: 'text',
  operation: 'text',
  model: 'text',
  backend: 'text',
  status: 'text',
  error_code: 'text',
  finish_reason: 'text',
  streamed: 'boolean',
  prompt_tokens: 'bigint',
  completion_tokens: 'bigint',
  reasoning_tokens: 'bigint',
  cached_tokens: 'bigint',
  estimated: 'boolean',
  queue_ms: 'double precision',
  load_ms: 'double precision',
  prompt_ms: 'double precision',
  first_token_ms: 'double precision',
  total_ms: 'double precision',
  tokens_per_second: 'double precision',
  started_at: 'timestamptz',
} as const;

const columns = Object.entries(COLUMNS);

/** For an `insert`: the names, and as what they are read out of JSON. */
export const NAMES = columns.map(([name]) => name).join(', ');
export const DEFINITIONS = columns.map(([name, type]) => `${name} ${type}`).join(', ');

/** For a `select`. Drivers read a bigint as text; no count is larger than what a double holds exactly. */
export const SELECTED = columns
  .map(([name, type]) => (type === 'bigint' ? `${name}::double precision as ${name}` : name))
  .join(', ');

/** What is written: a row as JSON carries it. What is absent is null. */
type WrittenRow = { readonly [Column in keyof typeof COLUMNS]: string | number | boolean | undefined };

const isText = (value: unknown) => typeof value === 'string';
const isFlag = (value: unknown) => typeof value === 'boolean';
const isTime = (value: unknown) => typeof value === 'string' && !Number.isNaN(Date.parse(value));

/** The columns without which nothing is a row, and what is a value of theirs. */
export const REQUIRED: readonly (readonly [keyof WrittenRow, (value: unknown) => boolean])[] = [
  ['id', isText],
  ['request_id', isText],
  ['key_id', isText],
  ['protocol', isText],
  ['operation', isText],
  ['model', isText],
  ['status', isText],
  ['streamed', isFlag],
  ['estimated', isFlag],
  ['started_at', isTime],
];

export function encodeRow(record: UsageRecord): WrittenRow {
  const { usage, timings } = record;
  return {
    id: text(record.id),
    request_id: text(record.requestId),
    key_id: text(record.keyId),
    protocol: record.protocol,
    operation: record.operation,
    model: text(record.model),
    backend: record.backend === undefined ? undefined : text(record.backend),
    status: record.status,
    error_code: record.errorCode,
    finish_reason: record.finishReason,
    streamed: record.streamed,
    prompt_tokens: count(usage.promptTokens),
    completion_tokens: count(usage.completionTokens),
    reasoning_tokens: count(usage.reasoningTokens),
    cached_tokens: count(usage.cachedTokens),
    estimated: usage.estimated ?? false,
    queue_ms: measure(timings.queueMs),
    load_ms: measure(timings.loadMs),
    prompt_ms: measure(timings.promptMs),
    first_token_ms: measure(timings.firstTokenMs),
    total_ms: measure(timings.totalMs),
    tokens_per_second: measure(timings.tokensPerSecond),
    started_at: isoTime(record.startedAt.getTime()),
  };
}

/** What is read: a row of `SELECTED`. */
export interface UsageRow {
  readonly id: string;
  readonly request_id: string;
  readonly key_id: string;
  readonly protocol: UsageRecord['protocol'];
  readonly operation: UsageRecord['operation'];
  readonly model: string;
  readonly backend: string | null;
  readonly status: UsageRecord['status'];
  readonly error_code: NonNullable<UsageRecord['errorCode']> | null;
  readonly finish_reason: NonNullable<UsageRecord['finishReason']> | null;
  readonly streamed: boolean;
  readonly prompt_tokens: number | null;
  readonly completion_tokens: number | null;
  readonly reasoning_tokens: number | null;
  readonly cached_tokens: number | null;
  readonly estimated: boolean;
  readonly queue_ms: number | null;
  readonly load_ms: number | null;
  readonly prompt_ms: number | null;
  readonly first_token_ms: number | null;
  readonly total_ms: number | null;
  readonly tokens_per_second: number | null;
  readonly started_at: Date;
}

export function decodeRow(row: UsageRow): UsageRecord {
  return {
    id: row.id,
    requestId: row.request_id,
    keyId: row.key_id,
    protocol: row.protocol,
    operation: row.operation,
    model: row.model,
    ...(row.backend !== null && { backend: row.backend }),
    status: row.status,
    ...(row.error_code !== null && { errorCode: row.error_code }),
    ...(row.finish_reason !== null && { finishReason: row.finish_reason }),
    streamed: row.streamed,
    usage: decodeUsage(row),
    timings: decodeTimings(row),
    startedAt: row.started_at,
  };
}

function decodeUsage(row: UsageRow): Usage {
  return {
    ...(row.prompt_tokens !== null && { promptTokens: row.prompt_tokens }),
    ...(row.completion_tokens !== null && { completionTokens: row.completion_tokens }),
    ...(row.reasoning_tokens !== null && { reasoningTokens: row.reasoning_tokens }),
    ...(row.cached_tokens !== null && { cachedTokens: row.cached_tokens }),
    ...(row.estimated && { estimated: true }),
  };
}

function decodeTimings(row: UsageRow): Timings {
  return {
    ...(row.queue_ms !== null && { queueMs: row.queue_ms }),
    ...(row.load_ms !== null && { loadMs: row.load_ms }),
    ...(row.prompt_ms !== null && { promptMs: row.prompt_ms }),
    ...(row.first_token_ms !== null && { firstTokenMs: row.first_token_ms }),
    ...(row.total_ms !== null && { totalMs: row.total_ms }),
    ...(row.tokens_per_second !== null && { tokensPerSecond: row.tokens_per_second }),
  };
}

/** Longer than any real model name; indexes take no row whose entry is longer than a few kilobytes. */
const MAX_TEXT = 512;

/** Almost all text there is, and none of what no database holds. */
const PRINTABLE = /^[ -~]*$/;

/**
 * Callers choose request ids and model names, and one text that the database cannot hold would keep a whole batch from
 * being written: NUL and lone surrogates become replacement characters.
 */
function text(value: string): string {
  if (value.length <= MAX_TEXT && PRINTABLE.test(value)) return value;
  return value.slice(0, MAX_TEXT).replaceAll('\0', '\u{fffd}').toWellFormed();
}

/** Whether some row may hold the text as it is. No other can be found, and the database would not take it to look. */
export function isStorable(value: string): boolean {
  return text(value) === value;
}

/** A whole number from 0 that fits. Whatever else a backend reported is not a count, so it is unknown. */
function count(value: number | undefined): number | undefined {
  if (value === undefined || !(value >= 0)) return undefined;
  const whole = Math.round(value);
  return Number.isSafeInteger(whole) ? whole : undefined;
}

function measure(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? value : undefined;
}
