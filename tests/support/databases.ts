import type { Database } from '../../src/storage/database.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { createEmbeddedDatabase } from './pglite.ts';
import { createDatabase } from './postgres.ts';

/** Every implementation of `Database`, for suites that all of them have to pass; `close` also deletes the data. */
export const DATABASES: readonly (readonly [name: string, open: () => Promise<Database>])[] = [
  ['PostgreSQL', openTestPostgres],
  ['PGlite', createEmbeddedDatabase],
];

async function openTestPostgres(): Promise<Database> {
  const { url, drop } = await createDatabase();
  const database = await openPostgres({ url });
  return {
    ...database,
    async close() {
      await database.close();
      await drop();
    },
  };
}
