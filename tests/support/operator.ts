/** What an operator does beside running gateways: makes keys and reads the ledger, in the database they use. */
import { systemClock } from '../../src/clock.ts';
import type { KeyDraft } from '../../src/core/key-rules.ts';
import { createKeys, type IssuedKey } from '../../src/core/keys.ts';
import type { Database } from '../../src/storage/database.ts';
import { createKeyStore } from '../../src/storage/keys.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { createLocalSignals } from '../../src/storage/signals.ts';
import type { UsageRow } from '../../src/storage/usage-row.ts';
import { eventually } from './eventually.ts';

export interface Operator {
  readonly database: Database;
  /** A key for one test alone, with every scope of inference; no limits unless told otherwise. */
  createKey(draft?: Partial<KeyDraft>): Promise<IssuedKey>;
  /** The ledger's rows of a key. */
  rows(keyId: string): Promise<readonly UsageRow[]>;
  /** Resolves with the ledger's rows of a key when there are as many, or more. */
  untilRows(keyId: string, count: number): Promise<readonly UsageRow[]>;
  close(): Promise<void>;
}

/** Outlives outages of the database, as gateways do. Tells running gateways nothing. */
export async function openOperator(databaseUrl: string): Promise<Operator> {
  const database = await openPostgres({ url: databaseUrl });
  const signals = createLocalSignals();
  const keys = createKeys({ store: createKeyStore(database), signals, clock: systemClock });
  const rows = (keyId: string) =>
    database.query<UsageRow>('select * from usage_records where key_id = $1 order by started_at', [keyId]);
  return {
    database,
    createKey: (draft = {}) =>
      keys.create({ name: 'a test', scopes: ['chat', 'embeddings', 'models'], ...draft }),
    rows,
    untilRows: (keyId, count) =>
      eventually(`${count} rows of ${keyId}`, async () => {
        const found = await rows(keyId).catch(() => []);
        return found.length >= count && found;
      }),
    async close() {
      await signals.close();
      await database.close();
    },
  };
}
