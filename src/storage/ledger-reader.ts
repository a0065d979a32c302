import type {
  LedgerReader,
  Percentiles,
  RecordFilter,
  RecordQuery,
  UsageBucket,
  UsageQuery,
} from '../core/ports.ts';
import { GatewayError } from '../domain/error.ts';
import { type Database, isCutShort } from './database.ts';
import { createTurns } from './turns.ts';
import { decodeRow, isStorable, SELECTED, type UsageRow } from './usage-row.ts';

/** What one answer may hold: a year of hours for one group, or a month of hours for a dozen. */
export const MAX_BUCKETS = 10_000;

/** Adding up a month of a busy ledger takes seconds, which no request's own statement is allowed. */
const ADDING_UP_MS = 10_000;

/** So that people who look at usage leave connections to those who use models. */
const ADDING_UP_AT_ONCE = 2;

/** Of one key: five times what one GraphQL operation may ask for. */
const MOST_WAITING = 100;

/** Questions to the table `usage_records`. */
export function createLedgerReader(database: Database): LedgerReader {
  const inTurn = createTurns(ADDING_UP_AT_ONCE, MOST_WAITING);
  const addUp = async (sql: string, params: readonly unknown[]) => {
    try {
      return await database.transaction((transaction) => transaction.query<BucketRow>(sql, params), {
        timeoutMs: ADDING_UP_MS,
      });
    } catch (error) {
      throw isCutShort(error) ? takesTooLong(error) : error;
    }
  };

  return {
    async buckets(query, asker) {
      const selection = encodeFilter(query);
      if (!selection) return [];
      const sql = selectBuckets(query, selection.where);
      const rows = await inTurn(asker, () => addUp(sql, selection.params));
      if (rows.length > MAX_BUCKETS) throw tooManyBuckets();
      return rows.map(decodeBucket);
    },
    async records(query) {
      const selection = encodeFilter(query);
      if (!selection) return [];
      const { where, params } = selection;
      const sql = `
        select ${SELECTED} from usage_records ${where}
        order by started_at desc, id desc limit $${params.length + 1}`;
      const rows = await database.query<UsageRow>(sql, [...params, query.limit]);
      return rows.map(decodeRow);
    },
    async record(id) {
      if (!isStorable(id)) return undefined;
      const sql = `select ${SELECTED} from usage_records where id = $1`;
      const [row] = await database.query<UsageRow>(sql, [id]);
      return row && decodeRow(row);
    },
  };
}

/** @returns undefined where nothing can match, and nobody need be asked. */
function encodeFilter(
  filter: RecordFilter & Pick<RecordQuery, 'after'>,
): { readonly where: string; readonly params: readonly unknown[] } | undefined {
  const { model, status, from, to, after } = filter;
  const keyIds = filter.keyIds?.filter(isStorable);
  const texts = [model, status, after?.id].filter((text) => text !== undefined);
  if (keyIds?.length === 0 || !texts.every(isStorable)) return undefined;

  const conditions: string[] = [];
  const params: unknown[] = [];
  const param = (value: unknown) => `$${params.push(value)}`;
  // PostgreSQL reads one key's rows in the order of time from the index, but several keys' only to sort them.
  if (keyIds?.length === 1) conditions.push(`key_id = ${param(keyIds[0])}`);
  else if (keyIds) conditions.push(`key_id = any(${param(keyIds)}::text[])`);
  if (model !== undefined) conditions.push(`model = ${param(model)}`);
  if (status !== undefined) conditions.push(`status = ${param(status)}`);
  if (from) conditions.push(`started_at >= ${param(from.toISOString())}::timestamptz`);
  if (to) conditions.push(`started_at < ${param(to.toISOString())}::timestamptz`);
  if (after) {
    const startedAt = `${param(after.startedAt.toISOString())}::timestamptz`;
    conditions.push(`(started_at, id) < (${startedAt}, ${param(after.id)})`);
  }
  return { where: conditions.length > 0 ? `where ${conditions.join(' and ')}` : '', params };
}

const GROUPS = { key: 'key_id', model: 'model' } as const satisfies Record<
  UsageQuery['groupBy'][number],
  keyof BucketRow
>;

const INTERVALS = { hour: `'hour'`, day: `'day'` } as const satisfies Record<UsageQuery['interval'], string>;

/** Sums and counts come as doubles, exact up to 2^53: drivers read the database's wider types as text. */
function selectBuckets({ interval, groupBy }: UsageQuery, where: string): string {
  const groups = [...new Set(groupBy)].map((group) => GROUPS[group]);
  const columns = ['start', ...groups].join(', ');
  return `
    select date_trunc(${INTERVALS[interval]}, started_at, 'UTC') as ${columns},
      count(*)::double precision as requests,
      count(*) filter (where status = 'error')::double precision as errors,
      count(*) filter (where status = 'cancelled')::double precision as cancelled,
      coalesce(sum(prompt_tokens), 0)::double precision as prompt_tokens,
      coalesce(sum(completion_tokens), 0)::double precision as completion_tokens,
      percentile_cont(array[0.5, 0.95, 0.99]) within group (order by total_ms) as total_ms,
      percentile_cont(array[0.5, 0.95, 0.99]) within group (order by first_token_ms) as first_token_ms
    from usage_records ${where}
    group by ${columns} order by ${columns} limit ${MAX_BUCKETS + 1}`;
}

interface BucketRow {
  readonly start: Date;
  /** Present where grouped by it. */
  readonly key_id?: string;
  readonly model?: string;
  readonly requests: number;
  readonly errors: number;
  readonly cancelled: number;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  /** Null where no row has the figure. */
  readonly total_ms: PercentilesRow | null;
  readonly first_token_ms: PercentilesRow | null;
}

type PercentilesRow = readonly [p50: number, p95: number, p99: number];

function decodeBucket(row: BucketRow): UsageBucket {
  return {
    start: row.start,
    ...(row.key_id !== undefined && { keyId: row.key_id }),
    ...(row.model !== undefined && { model: row.model }),
    requests: row.requests,
    errors: row.errors,
    cancelled: row.cancelled,
    promptTokens: row.prompt_tokens,
    completionTokens: row.completion_tokens,
    ...(row.total_ms && { totalMs: decodePercentiles(row.total_ms) }),
    ...(row.first_token_ms && { firstTokenMs: decodePercentiles(row.first_token_ms) }),
  };
}

function decodePercentiles([p50, p95, p99]: PercentilesRow): Percentiles {
  return { p50, p95, p99 };
}

function takesTooLong(cause: unknown): GatewayError {
  return new GatewayError(
    'invalid_request',
    'This usage takes too long to add up. Ask for a shorter time or fewer keys.',
    { param: 'from', cause },
  );
}

function tooManyBuckets(): GatewayError {
  return new GatewayError(
    'invalid_request',
    `The answer would hold more than ${MAX_BUCKETS} intervals and groups. Ask for a longer interval, a shorter time or fewer groups.`,
    { param: 'interval' },
  );
}
