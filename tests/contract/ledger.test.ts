import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { UsageRecord } from '../../src/domain/record.ts';
import type { Database } from '../../src/storage/database.ts';
import { createLedger, type EntryLedger } from '../../src/storage/ledger.ts';
import { encodeEntry } from '../../src/storage/usage-entry.ts';
import { DATABASES } from '../support/databases.ts';

function record(change: Partial<UsageRecord> = {}): UsageRecord {
  return {
    id: 'record-1',
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

describe.each(DATABASES)('the ledger in %s', (_name, open) => {
  let database: Database;
  let ledger: EntryLedger;

  beforeAll(async () => {
    database = await open();
    ledger = createLedger(database);
  });
  afterAll(() => database.close());
  beforeEach(() => database.query('truncate usage_records'));

  const rows = () => database.query('select * from usage_records order by id');
  const count = async () => {
    const [row] = await database.query<{ n: number }>('select count(*)::integer as n from usage_records');
    return row?.n;
  };

  test('a record with everything is kept with everything', async () => {
    await ledger.append([
      record({
        backend: 'ollama-1',
        status: 'error',
        errorCode: 'upstream_timeout',
        finishReason: 'length',
        streamed: true,
        usage: {
          promptTokens: 1,
          completionTokens: 5_000_000_000,
          reasoningTokens: 0,
          cachedTokens: 4,
          estimated: true,
        },
        timings: {
          queueMs: 0.5,
          loadMs: 1,
          promptMs: 2,
          firstTokenMs: 3,
          totalMs: 1e7,
          tokensPerSecond: 41.25,
        },
      }),
    ]);
    const [row] = await database.query(
      'select *, completion_tokens::text as completion_tokens, prompt_tokens::integer as prompt_tokens, reasoning_tokens::integer as reasoning_tokens, cached_tokens::integer as cached_tokens from usage_records',
    );
    expect(row).toEqual({
      id: 'record-1',
      request_id: 'request-1',
      key_id: 'key_1',
      protocol: 'rest',
      operation: 'chat',
      model: 'llama3.1:8b',
      backend: 'ollama-1',
      status: 'error',
      error_code: 'upstream_timeout',
      finish_reason: 'length',
      streamed: true,
      prompt_tokens: 1,
      completion_tokens: '5000000000',
      reasoning_tokens: 0,
      cached_tokens: 4,
      estimated: true,
      queue_ms: 0.5,
      load_ms: 1,
      prompt_ms: 2,
      first_token_ms: 3,
      total_ms: 1e7,
      tokens_per_second: 41.25,
      started_at: new Date('2026-01-02T03:04:05.678Z'),
    });
  });

  test('what is not known is null, never zero', async () => {
    await ledger.append([record()]);
    const [row] = await database.query<Record<string, unknown>>(
      'select backend, error_code, finish_reason, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, queue_ms, load_ms, prompt_ms, first_token_ms, total_ms, tokens_per_second from usage_records',
    );
    expect(new Set(Object.values(row ?? {}))).toEqual(new Set([null]));
  });

  test('a record that is written again is left as it was, within one write and across several', async () => {
    await ledger.append([record({ model: 'first' }), record({ model: 'second' })]);
    await ledger.append([record({ model: 'third' }), record({ id: 'record-2' })]);
    expect(await rows()).toMatchObject([{ id: 'record-1', model: 'first' }, { id: 'record-2' }]);
  });

  test('any number of records is kept, none included', async () => {
    await ledger.append([]);
    expect(await count()).toBe(0);
    await ledger.append(Array.from({ length: 1201 }, (_, i) => record({ id: `record-${i}` })));
    expect(await count()).toBe(1201);
  });

  test('writers of the same records do not get in each other’s way', async () => {
    const records = Array.from({ length: 500 }, (_, i) => record({ id: `record-${i}` }));
    const orders = [records, records.toReversed(), records, records.toReversed()];
    // So that every writer has a connection at once.
    await Promise.all(orders.map(() => count()));
    await Promise.all(orders.map((order) => ledger.append(order)));
    expect(await count()).toBe(500);
  });

  test('an entry with values and fields of a newer replica is kept with what has a column here', async () => {
    const newer = { protocol: 'p', operation: 'o', status: 's', error_code: 'e', finish_reason: 'f' };
    const row = JSON.parse(encodeEntry(record()));
    await ledger.appendEntries([JSON.stringify({ ...row, ...newer, more: { of: 'it' } })]);
    expect(await rows()).toMatchObject([newer]);
  });

  test.each([
    ['no JSON', '{'],
    ['no object', 'null'],
    ['incomplete', '{"id":"bad"}'],
    ['of other types', encodeEntry(record({ id: 'bad' })).replace('"streamed":false', '"streamed":"maybe"')],
    ['more than a column holds', encodeEntry(record({ id: 'bad' })).replace('request-1', '\\u0000')],
  ])(
    'an entry that is %s is refused, with what came with it, and not for an outage',
    async (_what, entry) => {
      const refused = ledger.appendEntries([encodeEntry(record()), entry]);
      await expect(refused).rejects.not.toMatchObject({ code: 'storage_unavailable' });
      await expect(ledger.appendEntries([entry])).rejects.toThrow();
      expect(await count()).toBe(0);
    },
  );

  test('hostile texts are kept harmless, and keep no other record from being written', async () => {
    await ledger.append([
      record({ id: 'a', requestId: 'nul \0 here', model: '\ud800 lone' }),
      record({ id: 'b', model: 'x'.repeat(100_000) }),
      record({ id: 'c', requestId: `'); drop table usage_records; --`, model: '🦙"\\u0000' }),
      record({ id: 'd', model: `${'y'.repeat(511)}🦙` }),
    ]);
    expect(await rows()).toMatchObject([
      { request_id: 'nul \ufffd here', model: '\ufffd lone' },
      { model: 'x'.repeat(512) },
      { request_id: `'); drop table usage_records; --`, model: '🦙"\\u0000' },
      { model: `${'y'.repeat(511)}\ufffd` },
    ]);
  });

  test('numbers that are not counts or measures are unknown', async () => {
    const wrong = [Number.NaN, Number.POSITIVE_INFINITY, -1, 1e300];
    await ledger.append(
      wrong.map((value, i) => record({ id: `${i}`, usage: { promptTokens: value, completionTokens: 1.6 } })),
    );
    expect(await rows()).toMatchObject(wrong.map(() => ({ prompt_tokens: null })));
    await ledger.append([
      record({ id: 'time', timings: { totalMs: Number.NaN, queueMs: Number.NEGATIVE_INFINITY } }),
    ]);
    expect(await count()).toBe(wrong.length + 1);
  });
});
