import { runProgram, UsageError, withDatabase } from './program.ts';

const HELP = `Usage: npm run migrate

Brings the database's schema up to date. The gateway does the same when it starts; doing it apart from that is for
deployments where the gateway's own database user may not change the schema.

The database is the one of DATABASE_URL, or the embedded one in DATA_DIR.`;

if (import.meta.main) await runProgram(main);

async function main(args: readonly string[]): Promise<string> {
  if (args.includes('--help')) return HELP;
  if (args.length > 0) throw new UsageError('migrate takes no arguments.');
  return withDatabase(async ({ migrated }) => {
    const { applied, version } = migrated;
    const done = applied.length === 0 ? 'Nothing to do' : `Applied ${applied.join(', ')}`;
    return `${done}: the schema is at version ${version}.`;
  });
}
