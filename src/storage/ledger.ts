import type { Ledger } from '../core/ports.ts';
import type { Database } from './database.ts';
import { DEFINITIONS, encodeRow, NAMES } from './usage-row.ts';

/** More rows in one statement gain nothing, and hold its locks and memory longer. */
const ROWS_PER_STATEMENT = 500;

/** Usage records in the table `usage_records`. */
export function createLedger(database: Database): Ledger {
  return {
    async append(records) {
      for (let start = 0; start < records.length; start += ROWS_PER_STATEMENT) {
        const rows = records.slice(start, start + ROWS_PER_STATEMENT).map(encodeRow);
        await database.query(INSERT, [JSON.stringify(rows)]);
      }
    },
  };
}

/** Sorted by id, so that two writers of the same records wait for each other instead of blocking each other for good. */
const INSERT = `
  insert into usage_records (${NAMES})
  select ${NAMES} from json_to_recordset($1::json) as r (${DEFINITIONS})
  order by id
  on conflict (id) do nothing`;
