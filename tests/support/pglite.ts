/** Embedded databases for tests. Making one takes seconds, so it is made once and copied. */
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Database } from '../../src/storage/database.ts';
import { migrate } from '../../src/storage/migrate.ts';
import { openPglite } from '../../src/storage/pglite.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Makes the template, unless an earlier run left it: it depends on PGlite's version and on the migrations alone. */
export async function sharePglite(): Promise<() => Promise<void>> {
  const template = templateDirectory();
  if (!existsSync(template)) {
    const draft = `${template}.${process.pid}`;
    const database = await openPglite({ directory: draft });
    await migrate(database);
    await database.close();
    // Whoever comes first wins; a directory cannot replace one that is not empty.
    if (existsSync(template)) rmSync(draft, { recursive: true });
    else renameSync(draft, template);
  }
  return async () => undefined;
}

export interface TestDirectory {
  /** A `DATA_DIR` with a migrated database in it. */
  readonly dataDir: string;
  remove(): void;
}

/** A data directory for one test file alone, with the schema in place. */
export function createDataDir(): TestDirectory {
  const dataDir = mkdtempSync(join(tmpdir(), 'llm-gateway-pglite-'));
  cpSync(templateDirectory(), join(dataDir, 'database'), { recursive: true });
  return { dataDir, remove: () => rmSync(dataDir, { recursive: true, force: true }) };
}

/** An embedded database for one test file alone, with the schema in place. `close` also deletes it. */
export async function createEmbeddedDatabase(): Promise<Database> {
  const directory = createDataDir();
  const database = await openPglite({ directory: join(directory.dataDir, 'database') });
  return {
    ...database,
    async close() {
      await database.close();
      directory.remove();
    },
  };
}

function templateDirectory(): string {
  const manifest = readFileSync(join(ROOT, 'node_modules/@electric-sql/pglite/package.json'));
  const key = createHash('sha256').update(manifest);
  const migrations = join(ROOT, 'migrations');
  for (const file of readdirSync(migrations).sort()) key.update(readFileSync(join(migrations, file)));
  const cache = join(ROOT, '.cache');
  mkdirSync(cache, { recursive: true });
  return join(cache, `pglite-${key.digest('hex').slice(0, 16)}`);
}
