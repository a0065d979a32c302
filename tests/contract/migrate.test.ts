import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Database } from '../../src/storage/database.ts';
import { type Migration, migrate, readMigrations } from '../../src/storage/migrate.ts';
import { DATABASES } from '../support/databases.ts';

/** Follows the schema that every test database begins with. */
const project = readMigrations(join(import.meta.dirname, '../../migrations'));
const next = (sql: string, name = 'next'): Migration => ({ version: project.length + 1, name, sql });

describe.each(DATABASES)('migrations of %s', (_name, open) => {
  let database: Database;

  beforeEach(async () => {
    database = await open();
  });
  afterEach(() => database.close());

  const version = async () => {
    const rows = await database.query('select version from schema_migrations');
    return rows.length;
  };

  test('run once: a second time has nothing to do', async () => {
    expect(await migrate(database)).toEqual({ applied: [], version: project.length });
    const more = [...project, next('create table extra (n integer); insert into extra values (1);')];
    expect(await migrate(database, more)).toEqual({ applied: ['next'], version: more.length });
    expect(await migrate(database, more)).toEqual({ applied: [], version: more.length });
    expect(await database.query('select n from extra')).toEqual([{ n: 1 }]);
  });

  test('one that fails leaves nothing of itself, keeps those before it, and can be tried again', async () => {
    const good = next('create table good (n integer)', 'good');
    const bad = {
      ...good,
      version: good.version + 1,
      name: 'bad',
      sql: 'create table bad (n integer); select nonsense;',
    };
    await expect(migrate(database, [...project, good, bad])).rejects.toMatchObject({ code: 'internal' });
    expect(await version()).toBe(good.version);
    await expect(database.query('select n from bad')).rejects.toThrow();
    const mended = { ...bad, sql: 'create table bad (n integer)' };
    expect(await migrate(database, [...project, good, mended])).toMatchObject({ applied: ['bad'] });
  });

  test('replicas that start at once run each of them once between them', async () => {
    const sql = 'create table once (n integer); insert into once values (1);';
    const reports = await Promise.all([1, 2, 3].map(() => migrate(database, [...project, next(sql)])));
    expect(reports.flatMap((report) => report.applied)).toEqual(['next']);
    expect(await database.query('select n from once')).toEqual([{ n: 1 }]);
  });

  test('replicas that start at once on an empty database do not trip over each other', async () => {
    await database.query('drop table api_key_secrets, api_keys, usage_records, schema_migrations');
    const reports = await Promise.all([1, 2, 3].map(() => migrate(database)));
    expect(reports.flatMap((report) => report.applied)).toEqual(project.map((migration) => migration.name));
  });

  test('a database that is newer than the code is refused with what to do, and not touched', async () => {
    await migrate(database, [...project, next('create table extra (n integer)')]);
    await expect(migrate(database)).rejects.toThrow(
      `The database has schema version ${project.length + 1}, and this version of the gateway knows only up to ${project.length}: run the newer gateway, or restore an older database.`,
    );
  });

  test('a migration that was edited after it ran is refused, and one with other line ends is not', async () => {
    const edited = project.map((migration) => ({ ...migration, sql: `${migration.sql}\nselect 1;` }));
    await expect(migrate(database, edited)).rejects.toThrow(/must not change/);
    const windows = project.map((migration) => ({
      ...migration,
      sql: migration.sql.replaceAll('\n', '\r\n'),
    }));
    expect(await migrate(database, windows)).toMatchObject({ applied: [] });
  });
});

test('files are read in the order of their numbers, and a gap is a mistake', () => {
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-migrations-'));
  try {
    writeFileSync(join(directory, '0002_b.sql'), 'two');
    writeFileSync(join(directory, '0001_a.sql'), 'one');
    writeFileSync(join(directory, 'README.md'), '');
    expect(readMigrations(directory)).toEqual([
      { version: 1, name: '0001_a', sql: 'one' },
      { version: 2, name: '0002_b', sql: 'two' },
    ]);
    writeFileSync(join(directory, '0004_d.sql'), 'four');
    expect(() => readMigrations(directory)).toThrow('migration 0004_d.sql should have number 3');
  } finally {
    rmSync(directory, { recursive: true });
  }
});
