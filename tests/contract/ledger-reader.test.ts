import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Asker, LedgerReader, RecordQuery, UsageQuery } from '../../src/core/ports.ts';
import type { UsageRecord } from '../../src/domain/record.ts';
import type { Database } from '../../src/storage/database.ts';
import { createLedger } from '../../src/storage/ledger.ts';
import { createLedgerReader, MAX_BUCKETS } from '../../src/storage/ledger-reader.ts';
import { migrate } from '../../src/storage/migrate.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { DATABASES } from '../support/databases.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';

const ASKER: Asker = { keyId: 'key_1', signal: new AbortController().signal };

let next = 0;
/** A record with an id of its own, unless one is given; later records have greater ids. */
function record(change: Partial<UsageRecord> = {}): UsageRecord {
  next += 1;
  return {
    id: String(next).padStart(8, '0'),
    requestId: 'request-1',
    keyId: 'key_1',
    protocol: 'rest',
    operation: 'chat',
    model: 'llama3.1:8b',
    status: 'ok',
    streamed: false,
    usage: {},
    timings: {},
    startedAt: new Date('2026-01-02T03:04:05.678Z'),
    ...change,
  };
}

const at = (time: string) => new Date(`2026-01-${time}Z`);

const january: UsageQuery = {
  from: at('01T00:00'),
  to: at('31T00:00'),
  interval: 'day',
  groupBy: [],
};

/** What callers may send as a name or an id; none of it names anything here. */
const HOSTILE = [
  '',
  '\0',
  'llama3.1:8b\0',
  '\ud800',
  '%',
  '_',
  "' or true --",
  "'); drop table usage_records; --",
  '$1',
  '{key_1}',
  'key_1,key_2',
  '\\',
  '🦙',
  'x'.repeat(100_000),
];

describe.each(DATABASES)('questions to the ledger in %s', (_name, open) => {
  let database: Database;
  let reader: LedgerReader;
  let asked: number;

  beforeAll(async () => {
    database = await open();
    reader = createLedgerReader({
      ...database,
      query: (sql, params) => {
        asked += 1;
        return database.query(sql, params);
      },
      transaction: (work, options) => {
        asked += 1;
        return database.transaction(work, options);
      },
    });
  });
  afterAll(() => database.close());
  beforeEach(async () => {
    await database.query('truncate usage_records');
    asked = 0;
  });

  const keep = (...records: readonly UsageRecord[]) => createLedger(database).append(records);
  const ids = (records: readonly UsageRecord[]) => records.map(({ id }) => id);

  describe('a record', () => {
    test('comes back as it was written, with everything it may have and with as little', async () => {
      const full = record({
        backend: 'ollama-1',
        protocol: 'graphql',
        operation: 'embedding',
        status: 'error',
        errorCode: 'upstream_timeout',
        finishReason: 'length',
        streamed: true,
        usage: {
          promptTokens: Number.MAX_SAFE_INTEGER,
          completionTokens: 5_000_000_000,
          reasoningTokens: 0,
          cachedTokens: 4,
          estimated: true,
        },
        timings: {
          queueMs: 0.1,
          loadMs: 0,
          promptMs: 2,
          firstTokenMs: 3,
          totalMs: 1e7,
          tokensPerSecond: 41.25,
        },
      });
      const bare = record();
      await keep(full, bare);
      expect(await reader.record(full.id)).toStrictEqual(full);
      expect(await reader.record(bare.id)).toStrictEqual(bare);
      expect(await reader.records({ limit: 10 })).toStrictEqual([bare, full]);
    });

    test('that is not there is undefined, whatever it is asked for by', async () => {
      await keep(record());
      for (const id of HOSTILE) expect(await reader.record(id)).toBeUndefined();
    });
  });

  describe('records', () => {
    test('are those of the named keys, model, status and time, in which the end is left out', async () => {
      const kept = {
        plain: record({ startedAt: at('01T00:00:00.000') }),
        otherKey: record({ keyId: 'key_2', startedAt: at('02T00:00:00.000') }),
        otherModel: record({ model: 'qwen3:8b', startedAt: at('03T00:00:00.000') }),
        failed: record({ status: 'error', startedAt: at('03T23:59:59.999') }),
        cancelled: record({ status: 'cancelled', keyId: 'key_3', startedAt: at('04T00:00:00.000') }),
      };
      await keep(...Object.values(kept));
      const { plain, otherKey, otherModel, failed, cancelled } = kept;
      const found = async (query: Partial<RecordQuery>) =>
        new Set(ids(await reader.records({ limit: 10, ...query })));
      const those = (...records: readonly UsageRecord[]) => new Set(ids(records));

      expect(await found({})).toEqual(those(...Object.values(kept)));
      expect(await found({ keyIds: ['key_2'] })).toEqual(those(otherKey));
      expect(await found({ keyIds: ['key_2', 'key_3', 'key_2'] })).toEqual(those(otherKey, cancelled));
      expect(await found({ model: 'qwen3:8b' })).toEqual(those(otherModel));
      expect(await found({ status: 'error' })).toEqual(those(failed));
      expect(await found({ from: at('03T00:00:00.000') })).toEqual(those(otherModel, failed, cancelled));
      expect(await found({ to: at('03T00:00:00.000') })).toEqual(those(plain, otherKey));
      expect(await found({ from: at('02T00:00'), to: at('04T00:00'), keyIds: ['key_1', 'key_3'] })).toEqual(
        those(otherModel, failed),
      );
      expect(await found({ keyIds: ['key_1'], model: 'qwen3:8b', status: 'ok' })).toEqual(those(otherModel));
      expect(await found({ keyIds: ['key_2'], model: 'qwen3:8b' })).toEqual(those());
    });

    test.each([[undefined], [['key_1']], [['key_1', 'key_2']]] as const)(
      'of keys %j come newest first in pages that neither skip nor repeat, whatever they share in time',
      async (keyIds) => {
        const times = ['01T00:00:00.001', '01T00:00:00.000', '01T00:00:00.001', '02T00:00:00.000'].map(at);
        const all = Array.from({ length: 60 }, (_, i) => {
          const startedAt = times[i % times.length] ?? at('01T00:00');
          return record({ startedAt, keyId: i % 3 === 0 && keyIds?.length !== 1 ? 'key_2' : 'key_1' });
        });
        await keep(...all);
        const newestFirst = all.toSorted(
          (a, b) => b.startedAt.getTime() - a.startedAt.getTime() || (a.id < b.id ? 1 : -1),
        );
        for (const limit of [1, 7, 60]) {
          const seen: UsageRecord[] = [];
          // Pages that repeat would never end.
          while (seen.length <= all.length) {
            const after = seen.at(-1);
            const page = await reader.records({ limit, ...(keyIds && { keyIds }), ...(after && { after }) });
            if (page.length === 0) break;
            expect(page.length).toBeLessThanOrEqual(limit);
            seen.push(...page);
          }
          expect(ids(seen)).toEqual(ids(newestFirst));
        }
      },
    );

    test('that are written while someone turns pages do not move what is on later pages', async () => {
      const [oldest, middle, newest] = ['01', '02', '03'].map((day) =>
        record({ startedAt: at(`${day}T00:00`) }),
      );
      if (!oldest || !middle || !newest) throw new Error('unreachable');
      await keep(oldest, middle, newest);
      const first = await reader.records({ limit: 1 });
      await keep(record({ startedAt: at('04T00:00') }));
      expect(ids(first)).toEqual([newest.id]);
      expect(ids(await reader.records({ limit: 5, after: newest }))).toEqual([middle.id, oldest.id]);
    });

    test('of a page after a record that is gone, or never was, go on from that place', async () => {
      const kept = record({ startedAt: at('02T00:00') });
      await keep(kept);
      const after = { startedAt: at('02T00:00'), id: 'z' };
      expect(ids(await reader.records({ limit: 5, after }))).toEqual([kept.id]);
      expect(await reader.records({ limit: 5, after: { ...after, id: '!' } })).toEqual([]);
    });
  });

  describe('buckets', () => {
    test('add up what happened in each hour or day of UTC, oldest first, leaving empty ones out', async () => {
      await keep(
        record({ startedAt: at('01T23:59:59.999'), usage: { promptTokens: 10, completionTokens: 1 } }),
        record({ startedAt: at('03T00:00:00.000'), status: 'error', usage: { promptTokens: 5 } }),
        record({ startedAt: at('03T00:59:59.999'), status: 'cancelled', usage: { completionTokens: 7 } }),
        record({ startedAt: at('03T01:00:00.000'), usage: { promptTokens: 5_000_000_000 } }),
        record({ startedAt: at('03T01:00:00.001'), usage: { promptTokens: 5_000_000_000 } }),
      );
      const empty = { requests: 0, errors: 0, cancelled: 0, promptTokens: 0, completionTokens: 0 };
      const evening = {
        ...empty,
        start: at('01T23:00'),
        requests: 1,
        promptTokens: 10,
        completionTokens: 1,
      };
      expect(await reader.buckets({ ...january, interval: 'hour' }, ASKER)).toStrictEqual([
        { ...evening },
        {
          ...{ ...empty, start: at('03T00:00'), requests: 2, errors: 1, cancelled: 1 },
          ...{ promptTokens: 5, completionTokens: 7 },
        },
        { ...empty, start: at('03T01:00'), requests: 2, promptTokens: 10_000_000_000 },
      ]);
      expect(await reader.buckets(january, ASKER)).toStrictEqual([
        { ...evening, start: at('01T00:00') },
        {
          ...{ ...empty, start: at('03T00:00'), requests: 4, errors: 1, cancelled: 1 },
          ...{ promptTokens: 10_000_000_005, completionTokens: 7 },
        },
      ]);
    });

    test('start at whole days of UTC, whatever the time zone of the database', async () => {
      await keep(record({ startedAt: at('02T00:30') }), record({ startedAt: at('02T23:30') }));
      const elsewhere = createLedgerReader({
        ...database,
        transaction: (work) =>
          database.transaction(async (transaction) => {
            await transaction.query(`select set_config('TimeZone', 'Asia/Kathmandu', true)`);
            return work(transaction);
          }),
      });
      expect(await elsewhere.buckets(january, ASKER)).toMatchObject([{ start: at('02T00:00'), requests: 2 }]);
    });

    test('are kept apart by key, by model, or by both', async () => {
      await keep(
        record({ keyId: 'key_1', model: 'a' }),
        record({ keyId: 'key_1', model: 'b' }),
        record({ keyId: 'key_2', model: 'a' }),
        record({ keyId: 'key_2', model: 'a' }),
      );
      const grouped = async (groupBy: UsageQuery['groupBy']) =>
        (await reader.buckets({ ...january, groupBy }, ASKER)).map((bucket) => [
          ...[bucket.keyId, bucket.model].filter((name) => name !== undefined),
          bucket.requests,
        ]);
      expect(await grouped([])).toEqual([[4]]);
      expect(await grouped(['key'])).toEqual([
        ['key_1', 2],
        ['key_2', 2],
      ]);
      expect(await grouped(['model'])).toEqual([
        ['a', 3],
        ['b', 1],
      ]);
      const both = [
        ['key_1', 'a', 1],
        ['key_1', 'b', 1],
        ['key_2', 'a', 2],
      ];
      expect(await grouped(['key', 'model'])).toEqual(both);
      expect(await grouped(['key', 'model', 'key'])).toEqual(both);
    });

    test('give percentiles of the requests that have the figure, and none where none has', async () => {
      const totals = Array.from({ length: 101 }, (_, i) =>
        record({ timings: i === 0 ? { totalMs: 0, firstTokenMs: 2.5 } : { totalMs: i } }),
      );
      await keep(...totals, record(), record({ startedAt: at('03T00:00') }));
      const [first, second] = await reader.buckets(january, ASKER);
      expect(first).toMatchObject({
        requests: 102,
        totalMs: { p50: 50, p95: 95, p99: 99 },
        firstTokenMs: { p50: 2.5, p95: 2.5, p99: 2.5 },
      });
      expect(second).toMatchObject({ requests: 1 });
      expect(Object.keys(second ?? {})).not.toEqual(expect.arrayContaining(['totalMs']));
      expect(Object.keys(second ?? {})).not.toEqual(expect.arrayContaining(['firstTokenMs']));
    });

    test('count the records that the filter lets through, from the first moment to before the last', async () => {
      await keep(
        record({ startedAt: at('02T00:00:00.000') }),
        record({ startedAt: at('02T23:59:59.999'), status: 'error' }),
        record({ startedAt: at('03T00:00:00.000'), model: 'qwen3:8b' }),
        record({ startedAt: at('02T12:00'), keyId: 'key_2' }),
      );
      const requests = async (change: Partial<UsageQuery>) =>
        (await reader.buckets({ ...january, ...change }, ASKER)).reduce(
          (sum, bucket) => sum + bucket.requests,
          0,
        );
      expect(await requests({})).toBe(4);
      expect(await requests({ from: at('02T00:00'), to: at('03T00:00') })).toBe(3);
      expect(await requests({ from: at('03T00:00'), to: at('02T00:00') })).toBe(0);
      expect(await requests({ keyIds: ['key_1'] })).toBe(3);
      expect(await requests({ model: 'qwen3:8b' })).toBe(1);
      expect(await requests({ status: 'error' })).toBe(1);
    });

    test('that would be too many are refused, with what to ask for instead', async () => {
      const fill = (count: number) =>
        database.query(
          `insert into usage_records (id, request_id, key_id, protocol, operation, model, status, streamed,
             estimated, started_at)
           select 'bulk-' || n, 'r', 'key_1', 'rest', 'chat', 'model-' || n, 'ok', false, false, $2::timestamptz
           from generate_series(1, $1::integer) n on conflict do nothing`,
          [count, '2026-01-05T00:00:00Z'],
        );
      const query: UsageQuery = { ...january, groupBy: ['model'] };
      await fill(MAX_BUCKETS);
      expect(await reader.buckets(query, ASKER)).toHaveLength(MAX_BUCKETS);
      await fill(MAX_BUCKETS + 1);
      await expect(reader.buckets(query, ASKER)).rejects.toMatchObject({
        code: 'invalid_request',
        param: 'interval',
        message: expect.stringContaining('longer interval'),
      });
      expect(await reader.buckets(january, ASKER)).toMatchObject([{ requests: MAX_BUCKETS + 1 }]);
    });
  });

  test('no keys match nothing, and the database is not asked', async () => {
    await keep(record());
    for (const keyIds of [[], ['\0'], ['\ud800', 'key_1\0']]) {
      expect(await reader.records({ limit: 10, keyIds })).toEqual([]);
      expect(await reader.buckets({ ...january, keyIds }, ASKER)).toEqual([]);
    }
    expect(asked).toBe(0);
  });

  test('hostile texts match nothing and do no harm', async () => {
    const kept = record();
    await keep(kept, record({ keyId: 'key_2' }));
    for (const text of HOSTILE) {
      for (const filter of [{ keyIds: [text] }, { keyIds: [text, `${text}!`] }, { model: text }]) {
        expect(await reader.records({ limit: 10, ...filter })).toEqual([]);
        expect(await reader.buckets({ ...january, ...filter }, ASKER)).toEqual([]);
      }
      // A forged place in the list is a place like any other.
      const page = await reader.records({ limit: 10, after: { startedAt: at('01T00:00'), id: text } });
      expect(page).toEqual([]);
    }
    expect(ids(await reader.records({ limit: 10, keyIds: ['\0', 'key_1'] }))).toEqual([kept.id]);
  });
});

describe('a ledger of 100,000 requests in PostgreSQL', () => {
  let test100k: TestDatabase;
  let database: Database;
  let reader: LedgerReader;
  let plan: string;

  beforeAll(async () => {
    test100k = await createDatabase();
    database = await openPostgres({ url: test100k.url });
    await database.transaction(
      async (transaction) => {
        await transaction.script(`
          insert into usage_records (id, request_id, key_id, protocol, operation, model, status, streamed,
            prompt_tokens, estimated, total_ms, started_at)
          select 'id-' || n, 'r', 'key_' || n % 1000, 'rest', 'chat', 'model-' || n % 1000, 'ok', false,
            n % 4000, false, n % 9000, timestamptz '2026-01-01Z' + n * interval '25 seconds'
          from generate_series(1, 100000) n;
          analyze usage_records;`);
      },
      { timeoutMs: 30_000 },
    );
    const explain = async (sql: string, params?: readonly unknown[]) => {
      const rows = await database.query<{ 'QUERY PLAN': string }>(`explain ${sql}`, params);
      plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      return [];
    };
    reader = createLedgerReader({
      ...database,
      query: explain,
      transaction: (work) => work({ query: explain, script: async () => undefined }),
    });
  });
  afterAll(async () => {
    await database?.close();
    await test100k?.drop();
  });

  const page = { limit: 50, after: { startedAt: at('20T00:00'), id: 'id-1' } };
  const day = { ...january, from: at('10T00:00'), to: at('11T00:00') };

  test.each<[string, string, () => Promise<unknown>]>([
    ['a record', 'usage_records_pkey', () => reader.record('id-5')],
    ['a first page', 'usage_records_by_time', () => reader.records({ limit: 50 })],
    ['a later page', 'usage_records_by_time', () => reader.records(page)],
    ['one key’s first page', 'usage_records_by_key', () => reader.records({ limit: 50, keyIds: ['key_1'] })],
    ['one key’s later page', 'usage_records_by_key', () => reader.records({ ...page, keyIds: ['key_1'] })],
    ['a model’s page', 'usage_records_by_model', () => reader.records({ ...page, model: 'model-1' })],
    ['one day’s buckets', 'usage_records_by_time', () => reader.buckets(day, ASKER)],
    ['one key’s buckets', 'usage_records_by_key', () => reader.buckets({ ...day, keyIds: ['key_1'] }, ASKER)],
    [
      'several keys’ buckets',
      'usage_records_by_key',
      () => reader.buckets({ ...day, keyIds: ['key_1', 'key_2'] }, ASKER),
    ],
    [
      'a model’s buckets',
      'usage_records_by_model',
      () => reader.buckets({ ...day, model: 'model-1' }, ASKER),
    ],
  ])('%s is found by the index %s', async (_what, index, ask) => {
    await ask();
    expect(plan).toContain(index);
    expect(plan).not.toContain('Seq Scan');
  });

  test('usage that takes too long to add up is refused as too much, not as an outage', async () => {
    const locked = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const lock = database.transaction(async (transaction) => {
      await transaction.query('lock table usage_records in access exclusive mode');
      locked.resolve();
      await asked.promise;
    });
    await locked.promise;
    const hurried = createLedgerReader({
      ...database,
      transaction: (work) => database.transaction(work, { timeoutMs: 100 }),
    });
    const refusal = expect(hurried.buckets(day, ASKER)).rejects.toMatchObject({
      code: 'invalid_request',
      param: 'from',
      message: expect.stringContaining('shorter time'),
    });
    await refusal.finally(asked.resolve);
    await lock;
    expect(await hurried.buckets(day, ASKER)).toMatchObject([{ requests: 3456 }]);
    expect(database.state()).toBe('up');
  });

  test('at most two sums of usage run at once, so that requests find a connection', async () => {
    let running = 0;
    let most = 0;
    const counted = createLedgerReader({
      ...database,
      async transaction(work, options) {
        running += 1;
        most = Math.max(most, running);
        try {
          return await database.transaction(work, options);
        } finally {
          running -= 1;
        }
      },
    });
    const sums = await Promise.all(Array.from({ length: 8 }, () => counted.buckets(day, ASKER)));
    expect(sums.map(([bucket]) => bucket?.requests)).toEqual(Array(8).fill(3456));
    expect(most).toBe(2);
  });
});

test('while the database is away every question says so', async () => {
  const url = 'postgresql://nobody@127.0.0.1:1/nowhere';
  const database = await openPostgres({ url, prepare: migrate });
  const reader = createLedgerReader(database);
  const unavailable = { code: 'storage_unavailable', retryable: true };
  await expect(reader.record('id')).rejects.toMatchObject(unavailable);
  await expect(reader.records({ limit: 1 })).rejects.toMatchObject(unavailable);
  await expect(reader.buckets(january, ASKER)).rejects.toMatchObject(unavailable);
  await database.close();
});
