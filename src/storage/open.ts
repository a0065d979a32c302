import { join } from 'node:path';
import type { Database } from './database.ts';
import { type MigrationReport, migrate } from './migrate.ts';
import { openPglite } from './pglite.ts';
import { openPostgres, type PostgresOptions } from './postgres.ts';

export interface DatabaseOptions {
  /** A PostgreSQL. Absent: the embedded database. */
  readonly databaseUrl?: string;
  /** The embedded database's place. */
  readonly dataDir: string;
  readonly onStateChange?: PostgresOptions['onStateChange'];
  /** Called when the schema is known to be this code's, which is later where PostgreSQL is away at first. */
  readonly onMigrated?: (report: MigrationReport) => void;
}

/**
 * Opens the database of a configuration, with the schema brought up to date.
 * @throws GatewayError with a message for the operator: the schema is newer than this code, or the embedded database
 * is in use. A PostgreSQL that is away is no error here: see `openPostgres`.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { databaseUrl, dataDir, onStateChange, onMigrated } = options;
  const prepare = async (database: Database) => {
    const report = await migrate(database);
    onMigrated?.(report);
  };
  if (databaseUrl !== undefined) {
    return openPostgres({ url: databaseUrl, prepare, ...(onStateChange && { onStateChange }) });
  }
  const database = await openPglite({ directory: join(dataDir, 'database') });
  try {
    await prepare(database);
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}
