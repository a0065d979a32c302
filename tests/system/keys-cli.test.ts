import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { digestOf } from '../../src/core/keys.ts';
import type { KeyStore } from '../../src/core/ports.ts';
import type { Database } from '../../src/storage/database.ts';
import { createKeyStore } from '../../src/storage/keys.ts';
import { openPglite } from '../../src/storage/pglite.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { openSignals } from '../../src/storage/signals.ts';
import { createDataDir, type TestDirectory } from '../support/pglite.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';

const ROOT = join(import.meta.dirname, '../..');

interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one of the command line programs with nothing in its environment but `env`. */
async function run(
  program: 'keys' | 'migrate',
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Outcome> {
  const child = spawn(process.execPath, [`src/cli/${program}.ts`, ...args], { cwd: ROOT, env });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (child.exitCode === null) await once(child, 'exit');
  return { exitCode: child.exitCode, stdout, stderr };
}

describe('the keys command on PostgreSQL', () => {
  let target: TestDatabase;
  let database: Database;
  let store: KeyStore;

  beforeAll(async () => {
    target = await createDatabase();
    database = await openPostgres({ url: target.url });
    store = createKeyStore(database);
  });
  afterAll(async () => {
    await database.close();
    await target.drop();
  });

  const keys = (...args: string[]) => run('keys', args, { DATABASE_URL: target.url });
  const json = async (...args: string[]) => {
    const { exitCode, stdout, stderr } = await keys(...args, '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    return JSON.parse(stdout);
  };

  test('takes a key from its creation to its end', async () => {
    const before = Date.now();
    const created = await json(
      ...['create', '--name', 'Search team', '--scopes', 'chat,models', '--models', 'llama3*, qwen3:8b'],
      ...['--requests-per-minute', '60', '--tokens-per-minute', 'none', '--expires', '30d'],
      ...['--metadata', 'owner=ada', '--metadata', 'note=a=b'],
    );
    expect(created).toMatchObject({
      name: 'Search team',
      status: 'active',
      scopes: ['chat', 'models'],
      models: ['llama3*', 'qwen3:8b'],
      limits: { requestsPerMinute: 60, tokensPerMinute: null, concurrentRequests: null },
      metadata: { owner: 'ada', note: 'a=b' },
      secret: expect.stringMatching(/^llmgw_[0-9a-f]{64}$/),
    });
    expect(Date.parse(created.expiresAt)).toBeGreaterThanOrEqual(before + 30 * 86_400_000);
    expect((await store.findByDigest(digestOf(created.secret)))?.keyId).toBe(created.id);

    const { secret, ...shown } = created;
    expect(await json('show', created.id)).toEqual(shown);
    expect(await json('list')).toEqual([shown]);

    const updated = await json(
      ...['update', created.id, '--name', 'Renamed', '--models', 'all', '--requests-per-minute', 'none'],
      ...['--expires', 'none', '--metadata', 'none'],
    );
    expect(updated).toMatchObject({
      ...{ name: 'Renamed', models: [], expiresAt: null, metadata: {}, scopes: ['chat', 'models'] },
      limits: { requestsPerMinute: null },
    });

    const rotated = await json('rotate', created.id, '--grace', '1h');
    expect(rotated.secret).not.toBe(secret);
    expect((await store.findByDigest(digestOf(secret)))?.expiresAt).toBeInstanceOf(Date);
    expect(await store.findByDigest(digestOf(rotated.secret))).not.toHaveProperty('expiresAt');

    expect(await json('revoke', created.id)).toMatchObject({ status: 'revoked' });
    expect((await store.get(created.id))?.revokedAt).toBeInstanceOf(Date);
  });

  test('prints for people too: the secret once, and keys in columns', async () => {
    const created = await keys('create', '--name', 'For people');
    expect(created.stdout).toMatch(
      /^id {19}key_[\w-]{24}\nname {17}For people\n(.+\n)+\nllmgw_[0-9a-f]{64}\n\nThis is the only time that the secret is shown: keep it now\.\n$/,
    );
    const listed = await keys('list', '--limit', '1');
    expect(listed.stdout).toMatch(
      /^ID {28}NAME .*LAST USED\nkey_[\w-]{24} {2}For people {2}llmgw_[0-9a-f]{6} {2}active {2}no limit .*\n$/,
    );
    expect(listed.stdout).not.toMatch(/llmgw_[0-9a-f]{7}/);
  });

  test('tells the running replicas through Redis', async () => {
    const url = process.env['TEST_REDIS_URL'] ?? '';
    const signals = openSignals({ url });
    try {
      const keyIds: string[] = [];
      const heard = new Promise<void>((resolve) => {
        signals.subscribe((signal) => {
          if (signal.type === 'keyChanged') keyIds.push(signal.keyId);
          if (signal.type === 'keyChanged' && signal.keyId === created.id) resolve();
        });
      });
      const created = await json('create', '--name', 'Cached');
      const { exitCode } = await run('keys', ['revoke', created.id], {
        DATABASE_URL: target.url,
        REDIS_URL: url,
      });
      expect(exitCode).toBe(0);
      await heard;
      expect(keyIds).toContain(created.id);
    } finally {
      await signals.close();
    }
  });

  test('a command line that is wrong is a sentence and exit code 2, a refusal exit code 1', async () => {
    const misuse = { exitCode: 2, stdout: '', stderr: 'create needs --name.\n' };
    expect(await keys('create')).toEqual(misuse);
    const missing = { exitCode: 1, stdout: '', stderr: 'There is no key with this id.\n' };
    expect(await keys('show', 'key_unknown')).toEqual(missing);
    const refused = await keys('create', '--name', 'x', '--requests-per-minute', '0');
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^limits\.requestsPerMinute must be a whole number from 1 to .*\n$/);
  });

  test('every command explains itself, without a database', async () => {
    const general = await run('keys', ['--help'], {});
    expect(general).toMatchObject({ exitCode: 0, stderr: '' });
    expect(general.stdout).toContain('  create --name TEXT [options] ');
    const create = await run('keys', ['create', '--help'], {});
    expect(create).toMatchObject({ exitCode: 0, stderr: '' });
    expect(create.stdout).toContain('  --requests-per-minute N ');
    expect(await run('keys', [], {})).toEqual({ exitCode: 2, stdout: '', stderr: general.stdout });
  });
});

describe('the command lines when something is wrong', () => {
  test('a PostgreSQL that is away is one sentence', async () => {
    const env = { DATABASE_URL: 'postgresql://nobody:password@127.0.0.1:1/none' };
    for (const outcome of [await run('keys', ['list'], env), await run('migrate', [], env)]) {
      expect(outcome).toMatchObject({ exitCode: 1, stdout: '' });
      expect(outcome.stderr).toMatch(/^The database of DATABASE_URL is not available: .*ECONNREFUSED.*\n$/);
      expect(outcome.stderr).not.toContain('password');
    }
  });

  test('a wrong environment is told as the gateway tells it', async () => {
    const { exitCode, stderr } = await run('keys', ['list'], { DATABASE_URL: 'mysql://x' });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^The configuration has a problem:\n {2}DATABASE_URL /);
  });
});

describe('the command lines on the embedded database', () => {
  let directory: TestDirectory;

  beforeAll(() => {
    directory = createDataDir();
  });
  afterAll(() => directory.remove());

  test('keep keys from one run to the next', async () => {
    const env = { DATA_DIR: directory.dataDir };
    const { id } = JSON.parse((await run('keys', ['create', '--name', 'Kept', '--json'], env)).stdout);
    expect(JSON.parse((await run('keys', ['list', '--json'], env)).stdout)).toMatchObject([
      { id, name: 'Kept' },
    ]);
    expect(await run('migrate', [], env)).toEqual({
      exitCode: 0,
      stdout: expect.stringMatching(/^Nothing to do: the schema is at version \d+\.\n$/),
      stderr: '',
    });
  });

  test('leave a database alone that a gateway is using, and say what to do', async () => {
    const gateway = await openPglite({ directory: join(directory.dataDir, 'database') });
    try {
      const { exitCode, stdout, stderr } = await run('keys', ['list'], { DATA_DIR: directory.dataDir });
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
      expect(stderr).toMatch(/is in use by process \d+.*: stop that one first .*DATABASE_URL.*\n$/);
    } finally {
      await gateway.close();
    }
  });
});
