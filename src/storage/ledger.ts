import type { Ledger } from '../core/ports.ts';
import type { UsageRecord } from '../domain/record.ts';
import type { Database } from './database.ts';

/** More rows in one statement gain nothing, and hold its locks and memory longer. */
const ROWS_PER_STATEMENT = 500;

/** Usage records in the table `usage_records`. */
export function createLedger(database: Database): Ledger {
  return {
    async append(records) {
      for (let start = 0; start < records.length; start += ROWS_PER_STATEMENT) {
        const rows = records.slice(start, start + ROWS_PER_STATEMENT).map(encodeRecord);
        await database.query(INSERT, [JSON.stringify(rows)]);
      }
    },
  };
}

/** The table's columns with their types, which are also the names in the JSON that carries the rows. */
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

const names = Object.keys(COLUMNS).join(', ');
const definitions = Object.entries(COLUMNS).map(([name, type]) => `${name} ${type}`);

/** Sorted by id, so that two writers of the same records wait for each other instead of blocking each other for good. */
const INSERT = `
  insert into usage_records (${names})
  select ${names} from json_to_recordset($1::json) as r (${definitions.join(', ')})
  order by id
  on conflict (id) do nothing`;

type Row = { readonly [Column in keyof typeof COLUMNS]: string | number | boolean | null };

function encodeRecord(record: UsageRecord): Row {
  const { usage, timings } = record;
  return {
    id: text(record.id),
    request_id: text(record.requestId),
    key_id: text(record.keyId),
    protocol: record.protocol,
    operation: record.operation,
    model: text(record.model),
    backend: record.backend === undefined ? null : text(record.backend),
    status: record.status,
    error_code: record.errorCode ?? null,
    finish_reason: record.finishReason ?? null,
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
    started_at: record.startedAt.toISOString(),
  };
}

/** Longer than any real model name; indexes take no row whose entry is longer than a few kilobytes. */
const MAX_TEXT = 512;

/**
 * Callers choose request ids and model names, and one text that the database cannot hold would keep a whole batch from
 * being written: NUL and lone surrogates become replacement characters.
 */
function text(value: string): string {
  return value.slice(0, MAX_TEXT).replaceAll('\0', '\u{fffd}').toWellFormed();
}

/** A whole number from 0 that fits. Whatever else a backend reported is not a count, so it is unknown. */
function count(value: number | undefined): number | null {
  if (value === undefined || !(value >= 0)) return null;
  const whole = Math.round(value);
  return Number.isSafeInteger(whole) ? whole : null;
}

function measure(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}
