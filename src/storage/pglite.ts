import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { PGlite, type Transaction as PGliteTransaction } from '@electric-sql/pglite';
import { type Database, storageUnavailable, type Transaction, toStorageError } from './database.ts';
import { lockDirectory } from './lock.ts';

export interface PgliteOptions {
  /** Where the data lives; made where it is missing, which takes some seconds. */
  readonly directory: string;
}

/**
 * Opens PostgreSQL inside this process, on a directory that only this process may use.
 * @throws GatewayError `storage_unavailable`, with a message for the operator, where another process uses it.
 */
export async function openPglite(options: PgliteOptions): Promise<Database> {
  mkdirSync(dirname(options.directory), { recursive: true });
  const unlock = lockDirectory(options.directory);
  let engine: PGlite;
  try {
    engine = await PGlite.create({ dataDir: options.directory });
  } catch (thrown) {
    unlock();
    const detail = `the embedded database in ${options.directory} could not be opened: ${String(thrown)}`;
    throw storageUnavailable(detail, thrown);
  }
  let closing: Promise<void> | undefined;

  return {
    async query<Row>(sql: string, params: readonly unknown[] = []) {
      if (closing !== undefined) throw storageUnavailable('the database is closed');
      return rowsOf<Row>(engine, sql, params);
    },
    async transaction(work) {
      if (closing !== undefined) throw storageUnavailable('the database is closed');
      return inTransaction(engine, work);
    },
    state: () => 'embedded',
    async close() {
      closing ??= engine.close().finally(unlock);
      await closing;
    },
  };
}

async function rowsOf<Row>(
  engine: PGlite | PGliteTransaction,
  sql: string,
  params: readonly unknown[],
): Promise<readonly Row[]> {
  try {
    return (await engine.query<Row>(sql, [...params])).rows;
  } catch (thrown) {
    throw toStorageError(thrown);
  }
}

function inTransaction<Result>(
  engine: PGlite,
  work: (transaction: Transaction) => Promise<Result>,
): Promise<Result> {
  return engine.transaction((transaction) =>
    work({
      query: (sql, params = []) => rowsOf(transaction, sql, params),
      async script(sql) {
        try {
          await transaction.exec(sql);
        } catch (thrown) {
          throw toStorageError(thrown);
        }
      },
    }),
  );
}
