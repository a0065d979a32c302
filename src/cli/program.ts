import { type Config, configFromEnvironment } from '../config.ts';
import { GatewayError } from '../domain/error.ts';
import type { Database } from '../storage/database.ts';
import type { MigrationReport } from '../storage/migrate.ts';
import { openDatabase } from '../storage/open.ts';

/** A command line that cannot be understood. Its message says why, in one sentence. */
export class UsageError extends Error {}

/** A command that was understood and could not be carried out, for a reason that is the operator's to know. */
export class CommandError extends Error {}

const FAILURE = 1;
const MISUSE = 2;

/**
 * Runs a command line program: what `main` returns goes to standard output, a failure to standard error without a
 * stack, and the exit code is 0, 1 for a failure or 2 for a command line that is wrong.
 */
export async function runProgram(main: (args: readonly string[]) => Promise<string>): Promise<void> {
  try {
    process.stdout.write(`${await main(process.argv.slice(2))}\n`);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = error instanceof UsageError ? MISUSE : FAILURE;
  }
}

/** For the operator: where the gateway itself is at fault, with the detail that callers do not see. */
export function messageOf(error: unknown): string {
  if (error instanceof GatewayError && error.owner === 'gateway') {
    const { message, detail = message } = error;
    return detail === message ? message : `${message} (${detail})`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** How long there is between two tries to reach a database that is waited for. */
const RETRY_MS = 500;

interface Opened {
  readonly database: Database;
  readonly migrated: MigrationReport;
  readonly redisUrl: string | undefined;
}

/**
 * Opens the database of the environment for as long as `act` takes.
 * @param options `waitMs`: how long to wait for a database that is away. Migrations may take longer than that.
 */
export async function withDatabase<Result>(
  act: (opened: Opened) => Promise<Result>,
  { waitMs = 0 }: { readonly waitMs?: number } = {},
): Promise<Result> {
  const config = configFromEnvironment();
  const giveUpAt = Date.now() + waitMs;
  let opened = await open(config);
  while (!opened.migrated && Date.now() < giveUpAt) {
    await opened.database.close();
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    opened = await open(config);
  }
  const { database, migrated, trouble } = opened;
  try {
    if (!migrated) throw new CommandError(`The database of DATABASE_URL is not available: ${trouble}`);
    return await act({ database, migrated, redisUrl: config.redisUrl });
  } finally {
    await database.close();
  }
}

/** One try. @returns no report where the database is away, and why it is. */
async function open({ databaseUrl, dataDir }: Config) {
  let migrated: MigrationReport | undefined;
  let trouble = '';
  const database = await openDatabase({
    ...(databaseUrl !== undefined && { databaseUrl }),
    dataDir,
    onStateChange: (_state, detail) => {
      trouble = detail;
    },
    onMigrated: (report) => {
      migrated = report;
    },
  });
  return { database, migrated, trouble };
}
