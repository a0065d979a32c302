import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { KeyStore } from '../../src/core/ports.ts';
import type { ApiKey } from '../../src/domain/principal.ts';
import type { Database } from '../../src/storage/database.ts';
import { createKeyStore } from '../../src/storage/keys.ts';
import { DATABASES } from '../support/databases.ts';

let issued = 0;

/** A key and the digest of its secret, both new. */
function sample(change: Partial<ApiKey> = {}): { key: ApiKey; digest: string } {
  issued++;
  const key: ApiKey = {
    keyId: `key_${issued}`,
    name: `Key ${issued}`,
    prefix: 'llmgw_000000',
    scopes: ['chat'],
    models: [],
    limits: {},
    createdAt: new Date(Date.UTC(2026, 0, 1, 0, 0, issued)),
    metadata: {},
    ...change,
  };
  return { key, digest: digest(`secret ${issued}`) };
}

function digest(seed: string): string {
  return Buffer.from(seed.padEnd(32).slice(0, 32)).toString('hex');
}

const secondSecret = { digest: digest('second'), prefix: 'llmgw_222222' };

describe.each(DATABASES)('keys in %s', (_name, open) => {
  let database: Database;
  let store: KeyStore;

  beforeAll(async () => {
    database = await open();
    store = createKeyStore(database);
  });
  afterAll(() => database.close());

  test('a key comes back as it was created, by its id and by its secret', async () => {
    const { key, digest } = sample({
      name: `Ünïcode "quotes" \\ {braces}, commas 'and' 🦙; drop table api_keys; --`,
      scopes: ['chat', 'keys:write'],
      models: ['llama3.1:8b', 'qwen*', 'a,b"c{}'],
      limits: { requestsPerMinute: 1, tokensPerMinute: 1_000_000_000, concurrentRequests: 3 },
      expiresAt: new Date('2099-12-31T23:59:59.999Z'),
      metadata: { team: 'search', __proto__x: '', quote: '"\\' },
    });
    expect(await store.create(key, digest)).toBe(true);
    expect(await store.get(key.keyId)).toEqual(key);
    expect(await store.findByDigest(digest)).toEqual(key);
  });

  test('absent fields stay absent', async () => {
    const { key, digest } = sample();
    await store.create(key, digest);
    expect(Object.keys((await store.get(key.keyId)) ?? {}).sort()).toEqual(Object.keys(key).sort());
  });

  test('unknown ids and digests are undefined, whatever they contain', async () => {
    for (const unknown of ["' or '1'='1", '%', '']) {
      expect(await store.get(unknown)).toBeUndefined();
      expect(await store.findByDigest(unknown)).toBeUndefined();
      expect(await store.update(unknown, { name: 'x' })).toBeUndefined();
      expect(await store.update(unknown, {})).toBeUndefined();
      expect(await store.revoke(unknown, new Date())).toBeUndefined();
      expect(await store.rotate(unknown, { ...secondSecret }, new Date())).toBeUndefined();
    }
  });

  test('NUL characters are the caller’s mistake, and nothing is kept', async () => {
    const { key, digest } = sample({ name: 'a\0b' });
    await expect(store.create(key, digest)).rejects.toMatchObject({ code: 'invalid_request' });
    const nested = sample({ metadata: { a: '\0' } });
    await expect(store.create(nested.key, nested.digest)).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(store.get('a\0b')).rejects.toMatchObject({ code: 'invalid_request' });
    expect(await store.findByDigest(digest)).toBeUndefined();
  });

  test('a limit that is not positive is refused by the database itself', async () => {
    const { key, digest } = sample({ limits: { requestsPerMinute: 0 } });
    await expect(store.create(key, digest)).rejects.toMatchObject({ code: 'internal' });
    expect(await store.findByDigest(digest)).toBeUndefined();
  });

  test('of many creations with one secret at once exactly one happens', async () => {
    const { digest } = sample();
    const keys = Array.from({ length: 8 }, () => sample().key);
    const created = await Promise.all(keys.map((key) => store.create(key, digest)));
    expect(created.filter(Boolean)).toHaveLength(1);
    const found = await Promise.all(keys.map((key) => store.get(key.keyId)));
    expect(found.filter((key) => key !== undefined)).toHaveLength(1);
  });

  test('an update changes what it names, takes away what is null, and leaves the rest', async () => {
    const { key, digest } = sample({
      limits: { requestsPerMinute: 10, tokensPerMinute: 20 },
      expiresAt: new Date('2099-01-01T00:00:00Z'),
      metadata: { a: '1' },
    });
    await store.create(key, digest);
    const updated = await store.update(key.keyId, {
      name: 'renamed',
      limits: { requestsPerMinute: null, concurrentRequests: 5 },
      expiresAt: null,
      metadata: { b: '2' },
    });
    const { expiresAt: _, ...rest } = key;
    const expected = {
      ...rest,
      name: 'renamed',
      limits: { tokensPerMinute: 20, concurrentRequests: 5 },
      metadata: { b: '2' },
    };
    expect(updated).toEqual(expected);
    expect(await store.update(key.keyId, {})).toEqual(expected);
    expect(await store.update(key.keyId, { scopes: ['models'], models: ['*'] })).toEqual({
      ...expected,
      scopes: ['models'],
      models: ['*'],
    });
  });

  test('a rotated key has both secrets until the grace ends, and shows the newer', async () => {
    const { key, digest } = sample();
    await store.create(key, digest);
    const graceUntil = new Date('2098-01-01T00:00:00Z');
    const rotated = await store.rotate(key.keyId, secondSecret, graceUntil);
    expect(rotated).toEqual({ ...key, prefix: secondSecret.prefix });
    expect(await store.findByDigest(secondSecret.digest)).toEqual(rotated);
    expect(await store.findByDigest(digest)).toEqual({ ...key, expiresAt: graceUntil });
  });

  test('a later rotation never lengthens an earlier secret’s life, nor does its key outlive its own expiry', async () => {
    const expiresAt = new Date('2090-01-01T00:00:00Z');
    const { key, digest: first } = sample({ expiresAt });
    await store.create(key, first);
    const early = new Date('2080-01-01T00:00:00Z');
    const late = new Date('2099-01-01T00:00:00Z');
    const second = { digest: digest('rotation two'), prefix: 'llmgw_2' };
    await store.rotate(key.keyId, second, early);
    await store.rotate(key.keyId, { digest: digest('rotation three'), prefix: 'llmgw_3' }, late);
    expect((await store.findByDigest(first))?.expiresAt).toEqual(early);
    expect((await store.findByDigest(second.digest))?.expiresAt).toEqual(expiresAt);
    expect((await store.get(key.keyId))?.prefix).toBe('llmgw_3');
  });

  test('of many rotations at once each ends the secrets before it: one lasts', async () => {
    const { key, digest: first } = sample();
    await store.create(key, first);
    // So that every rotation has a connection at once.
    await Promise.all(Array.from({ length: 8 }, () => store.get(key.keyId)));
    const secrets = Array.from({ length: 8 }, (_, i) => ({ digest: digest(`race ${i}`), prefix: 'llmgw_r' }));
    const graceUntil = new Date('2080-01-01T00:00:00Z');
    await Promise.all(secrets.map((secret) => store.rotate(key.keyId, secret, graceUntil)));
    const found = await Promise.all(secrets.map((secret) => store.findByDigest(secret.digest)));
    expect(found.filter((key) => key?.expiresAt === undefined)).toHaveLength(1);
  });

  test('the first revocation counts', async () => {
    const { key, digest } = sample();
    await store.create(key, digest);
    const at = new Date('2026-06-01T00:00:00Z');
    expect(await store.revoke(key.keyId, at)).toEqual({ ...key, revokedAt: at });
    expect(await store.revoke(key.keyId, new Date('2027-01-01T00:00:00Z'))).toEqual({
      ...key,
      revokedAt: at,
    });
    expect((await store.findByDigest(digest))?.revokedAt).toEqual(at);
  });

  test('last use moves forwards only, and unknown keys are passed over', async () => {
    const { key, digest } = sample();
    await store.create(key, digest);
    const later = new Date('2026-06-02T00:00:00.123Z');
    await store.touch(
      new Map([
        [key.keyId, later],
        ['key_unknown', later],
      ]),
    );
    await store.touch(new Map([[key.keyId, new Date('2026-06-01T00:00:00Z')]]));
    await store.touch(new Map());
    expect((await store.get(key.keyId))?.lastUsedAt).toEqual(later);
  });

  test('replicas may note the same keys at once', async () => {
    const keys = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const { key, digest } = sample();
        await store.create(key, digest);
        return key.keyId;
      }),
    );
    const at = (second: number) => new Date(Date.UTC(2026, 5, 1, 0, 0, second));
    await Promise.all(
      [keys, keys.toReversed(), keys, keys.toReversed()].map((order, replica) =>
        store.touch(new Map(order.map((id) => [id, at(replica)]))),
      ),
    );
    const found = await Promise.all(keys.map((id) => store.get(id)));
    expect(found.map((key) => key?.lastUsedAt)).toEqual(keys.map(() => at(3)));
  });

  test('pages list every key once, newest first, also where keys were created at one moment', async () => {
    const createdAt = new Date('2030-01-01T00:00:00Z');
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { key, digest } = sample({ createdAt });
      await store.create(key, digest);
      ids.push(key.keyId);
    }
    const listed: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await store.list({ limit: 2, ...(after && { after }) });
      listed.push(...page.map((key) => key.keyId));
      after = page.at(-1)?.keyId;
      if (page.length < 2) break;
    }
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed.slice(0, 5).sort()).toEqual(ids.sort());
    const times = await Promise.all(
      listed.map(async (id) => (await store.get(id))?.createdAt.getTime() ?? 0),
    );
    expect(times).toEqual(times.toSorted((a, b) => b - a));
    expect(await store.list({ limit: 10, after: 'key_unknown' })).toEqual([]);
  });

  test('keys are listed by a part of their name, whatever its case, and by whether they are revoked', async () => {
    const { key: live, digest } = sample({ name: 'Filtered 100% Ünder_way' });
    const { key: ended, digest: endedDigest } = sample({ name: 'filtered, ended' });
    await store.create(live, digest);
    await store.create(ended, endedDigest);
    await store.revoke(ended.keyId, new Date('2026-02-01T00:00:00Z'));
    const list = async (filter: { readonly name?: string; readonly revoked?: boolean }) =>
      (await store.list({ limit: 10, ...filter })).map(({ keyId }) => keyId);

    expect(await list({ name: 'FILTERED' })).toEqual([ended.keyId, live.keyId]);
    expect(await list({ name: 'filtered', revoked: true })).toEqual([ended.keyId]);
    expect(await list({ name: 'filtered', revoked: false })).toEqual([live.keyId]);
    expect(await list({ name: '100% ÜNDER_' })).toEqual([live.keyId]);
    expect(await list({ name: 'filtered%' })).toEqual([]);
  });
});
