import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError } from '../domain/error.ts';
import type { Database, Transaction } from './database.ts';

export interface Migration {
  /** From 1, without gaps. */
  readonly version: number;
  /** The file's name without its ending. */
  readonly name: string;
  readonly sql: string;
}

export interface MigrationReport {
  /** Names of the migrations that this call has run, in order. Another replica may have run the others. */
  readonly applied: readonly string[];
  /** The version that the schema has now. */
  readonly version: number;
}

const DIRECTORY = join(import.meta.dirname, '../../migrations');

/** Adding an index to a large ledger may take a while. */
const TIMEOUT_MS = 10 * 60_000;

/** Any number that nobody else takes an advisory lock on in this database. */
const LOCK = 7_246_104_311;

/**
 * Brings the schema to the version that this code was written for. Safe to run from several replicas at once: each
 * migration is one transaction under one lock, and whoever comes second finds it done.
 * @throws GatewayError `internal`, with a message for the operator, where the database was migrated by other code:
 * a newer version of this, or one whose files were edited since. `storage_unavailable` while the database is away.
 */
export async function migrate(
  database: Database,
  migrations: readonly Migration[] = readMigrations(DIRECTORY),
): Promise<MigrationReport> {
  const applied: string[] = [];
  const inLock = <Result>(work: (transaction: Transaction) => Promise<Result>) =>
    database.transaction(
      async (transaction) => {
        await transaction.query('select pg_advisory_xact_lock($1)', [LOCK]);
        return work(transaction);
      },
      { timeoutMs: TIMEOUT_MS },
    );

  const history = await readHistory(database);
  assertKnown(history, migrations);
  // Nothing to do is the usual case, and needs no lock and no right to change the schema.
  if (history.length === migrations.length) return { applied: [], version: history.length };

  await inLock((transaction) => transaction.script(CREATE_HISTORY));
  for (const migration of migrations) {
    const ran = await inLock((transaction) => runOnce(transaction, migration));
    if (ran) applied.push(migration.name);
  }
  return { applied, version: migrations.length };
}

/** @throws Error where the files are not numbered 0001, 0002, and so on. */
export function readMigrations(directory: string): readonly Migration[] {
  const files = readdirSync(directory).filter((file) => file.endsWith('.sql'));
  return files.sort().map((file, index) => {
    const version = Number.parseInt(file, 10);
    if (version !== index + 1) throw new Error(`migration ${file} should have number ${index + 1}`);
    return { version, name: file.slice(0, -4), sql: readFileSync(join(directory, file), 'utf8') };
  });
}

interface HistoryRow {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
}

const CREATE_HISTORY = `
  create table if not exists schema_migrations (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
  )`;

async function readHistory(database: Database): Promise<readonly HistoryRow[]> {
  const [found] = await database.query("select 1 where to_regclass('schema_migrations') is not null");
  if (!found) return [];
  return database.query('select version, name, checksum from schema_migrations order by version');
}

/** @returns false where it had run before. */
async function runOnce(transaction: Transaction, migration: Migration): Promise<boolean> {
  const inserted = await transaction.query(
    `insert into schema_migrations (version, name, checksum) values ($1, $2, $3)
     on conflict (version) do nothing returning version`,
    [migration.version, migration.name, checksumOf(migration)],
  );
  if (inserted.length === 0) return false;
  await transaction.script(migration.sql);
  return true;
}

function assertKnown(history: readonly HistoryRow[], migrations: readonly Migration[]): void {
  for (const row of history) {
    const migration = migrations[row.version - 1];
    if (!migration) {
      throw refusal(
        `The database has schema version ${history.at(-1)?.version}, and this version of the gateway knows only up to ${migrations.length}: run the newer gateway, or restore an older database.`,
      );
    }
    if (checksumOf(migration) !== row.checksum) {
      throw refusal(
        `Migration ${migration.name} is not what the database was migrated with (${row.name}): a migration that has run must not change, so undo the edit and add another one.`,
      );
    }
  }
}

function refusal(message: string): GatewayError {
  return new GatewayError('internal', message, { detail: message });
}

/** Of the text with one kind of line end, as a checkout may change those. */
function checksumOf(migration: Migration): string {
  return createHash('sha256').update(migration.sql.replaceAll('\r\n', '\n')).digest('hex');
}
