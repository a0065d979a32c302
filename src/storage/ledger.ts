import type { Ledger } from '../core/ports.ts';
import type { Database } from './database.ts';
import { encodeEntry, type UsageEntry } from './usage-entry.ts';
import { DEFINITIONS, NAMES } from './usage-row.ts';

/** More rows in one statement gain nothing, and hold its locks and memory longer. */
const ROWS_PER_STATEMENT = 500;

export interface EntryLedger extends Ledger {
  /**
   * As `append`, for records that are encoded already.
   * @throws GatewayError also where some entry is none, or has a value that its column cannot hold. Then nothing of up
   * to 500 entries is kept.
   */
  appendEntries(entries: readonly UsageEntry[]): Promise<void>;
}

/** Usage records in the table `usage_records`. */
export function createLedger(database: Database): EntryLedger {
  const appendEntries = async (entries: readonly UsageEntry[]) => {
    for (let start = 0; start < entries.length; start += ROWS_PER_STATEMENT) {
      await database.query(INSERT, [`[${entries.slice(start, start + ROWS_PER_STATEMENT).join(',')}]`]);
    }
  };
  return { appendEntries, append: (records) => appendEntries(records.map(encodeEntry)) };
}

/**
 * The database takes the entries apart and judges their types, so that this process need not.
 * Sorted by id, so that two writers of the same records wait for each other instead of blocking each other for good.
 */
const INSERT = `
  insert into usage_records (${NAMES})
  select ${NAMES} from json_to_recordset($1::json) as r (${DEFINITIONS})
  order by id
  on conflict (id) do nothing`;
