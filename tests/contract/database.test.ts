import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../src/domain/error.ts';
import type { Database } from '../../src/storage/database.ts';
import { DATABASES } from '../support/databases.ts';

describe.each(DATABASES)('%s', (_name, open) => {
  let database: Database;

  beforeAll(async () => {
    database = await open();
    await database.query('create table letters (letter text primary key)');
  });
  afterAll(() => database.close());

  const letters = async () => {
    const rows = await database.query<{ letter: string }>('select letter from letters order by letter');
    return rows.map((row) => row.letter);
  };

  test('parameters keep their types on the way in and out', async () => {
    const at = new Date('2026-01-02T03:04:05.678Z');
    const [row] = await database.query(
      'select $1::text as text, $2::integer as integer, $3::boolean as boolean, $4::timestamptz as at, $5::text[] as list, $6::jsonb as object, $7::text as nothing',
      ["'; drop table letters; --", 7, true, at, ['a', '{"b,'], '{"c":1}', null],
    );
    expect(row).toEqual({
      text: "'; drop table letters; --",
      integer: 7,
      boolean: true,
      at,
      list: ['a', '{"b,'],
      object: { c: 1 },
      nothing: null,
    });
  });

  test('a transaction that resolves is kept, and gives its result', async () => {
    const result = await database.transaction(async (transaction) => {
      await transaction.query('insert into letters values ($1)', ['a']);
      await transaction.script("insert into letters values ('b'); insert into letters values ('c');");
      return 'done';
    });
    expect(result).toBe('done');
    expect(await letters()).toEqual(['a', 'b', 'c']);
  });

  test('a transaction that rejects leaves nothing behind, and its own error comes out as it was', async () => {
    const mistake = new Error('mine');
    const work = database.transaction(async (transaction) => {
      await transaction.query("insert into letters values ('x')");
      throw mistake;
    });
    await expect(work).rejects.toBe(mistake);
    const known = new GatewayError('not_found', 'Not there.');
    await expect(database.transaction(() => Promise.reject(known))).rejects.toBe(known);
    expect(await letters()).not.toContain('x');
  });

  test('a failed statement within a transaction undoes all of it', async () => {
    const work = database.transaction(async (transaction) => {
      await transaction.query("insert into letters values ('y')");
      await transaction.query('select from nowhere');
    });
    await expect(work).rejects.toMatchObject({ code: 'internal' });
    expect(await letters()).not.toContain('y');
  });

  test('a wrong statement is the gateway’s failure, told without the database’s words, and no outage', async () => {
    const before = database.state();
    const query = database.query('select secret_column');
    await expect(query).rejects.toBeInstanceOf(GatewayError);
    await expect(query).rejects.toMatchObject({
      code: 'internal',
      message: expect.not.stringContaining('secret_column'),
      detail: expect.stringMatching(/42703.*secret_column/),
    });
    expect(database.state()).toBe(before);
  });

  test('many callers at once are all answered', async () => {
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => database.query<{ n: number }>('select $1::integer as n', [i])),
    );
    expect(answers.map((rows) => rows[0]?.n)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });
});

test.each(DATABASES)('%s says that it is closed, to whoever comes later', async (_name, open) => {
  const database = await open();
  await database.close();
  await expect(database.query('select 1')).rejects.toMatchObject({ code: 'storage_unavailable' });
  await expect(database.transaction(async () => 1)).rejects.toMatchObject({ code: 'storage_unavailable' });
});
