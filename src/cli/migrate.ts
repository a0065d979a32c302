import { parseArgs } from 'node:util';
import { runProgram, UsageError, withDatabase } from './program.ts';

const HELP = `Usage: npm run migrate -- [options]

Brings the database's schema up to date. The gateway does the same when it starts; doing it apart from that is for
deployments where the gateway's own database user may not change the schema.

  --wait SECONDS   how long to wait for a database that is away, such as one that is starting too; 0 by default

The database is the one of DATABASE_URL, or the embedded one in DATA_DIR.`;

if (import.meta.main) await runProgram(main);

async function main(args: readonly string[]): Promise<string> {
  const { help, wait } = readOptions(args);
  if (help) return HELP;
  if (!/^\d{1,4}$/.test(wait)) throw new UsageError('--wait is a whole number of seconds, up to 9999.');
  return withDatabase(
    async ({ migrated }) => {
      const { applied, version } = migrated;
      const done = applied.length === 0 ? 'Nothing to do' : `Applied ${applied.join(', ')}`;
      return `${done}: the schema is at version ${version}.`;
    },
    { waitMs: Number(wait) * 1000 },
  );
}

function readOptions(args: readonly string[]) {
  try {
    const options = {
      wait: { type: 'string', default: '0' },
      help: { type: 'boolean', default: false, short: 'h' },
    } as const;
    return parseArgs({ args: [...args], options }).values;
  } catch {
    throw new UsageError('migrate takes no arguments but --wait and --help. See: npm run migrate -- --help');
  }
}
