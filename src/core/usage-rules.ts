import { invalid, wholeNumber } from './key-rules.ts';
import type { RecordFilter, RecordQuery, UsageQuery } from './ports.ts';

/** A year, whether or not it is a leap year. */
const MAX_DAYS = 366;
const DAY_MS = 86_400_000;
const MAX_RECORDS = 500;
const MAX_KEYS = 200;

/** Bounds the work that a question to the ledger may cause. @throws GatewayError `invalid_request`, naming the field. */
export function checkUsageQuery(query: UsageQuery): void {
  checkFilter(query);
  const { from, to } = query;
  if (from >= to) throw invalid('to must be later than from.', 'to');
  if (to.getTime() - from.getTime() > MAX_DAYS * DAY_MS) {
    throw invalid(`from and to must be at most ${MAX_DAYS} days apart.`, 'from');
  }
}

/** As `checkUsageQuery`. */
export function checkRecordQuery(query: RecordQuery): void {
  checkFilter(query);
  wholeNumber(query.limit, 1, MAX_RECORDS, 'limit');
  if (query.after) checkTime(query.after.startedAt, 'after');
}

function checkFilter({ keyIds, from, to }: RecordFilter): void {
  if (keyIds && keyIds.length > MAX_KEYS) {
    throw invalid(`keyIds must have at most ${MAX_KEYS} entries.`, 'keyIds');
  }
  if (from) checkTime(from, 'from');
  if (to) checkTime(to, 'to');
}

/**
 * A protocol asks first where it calls the field otherwise than a query does.
 * @throws GatewayError `invalid_request`, naming `param`.
 */
export function checkTime(time: Date, param: string): void {
  // A comparison with an invalid date is false. What lies further away has no common notation.
  if (time.getTime() >= 0 && time.getUTCFullYear() < 10_000) return;
  throw invalid(`${param} must be a time from 1970 to 9999.`, param);
}
