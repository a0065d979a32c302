import { beforeEach, describe, expect, test } from '@jest/globals';
import { DEMO_KEYS } from '../../src/core/demo-keys.ts';
import { createKeys, digestOf, type Keys } from '../../src/core/keys.ts';
import type { Clock, KeyStore, Signal } from '../../src/core/ports.ts';
import type { ApiKey } from '../../src/domain/principal.ts';
import { SCOPES } from '../../src/domain/principal.ts';

const NOW = Date.UTC(2026, 5, 1);
const draft = { name: 'Search team', scopes: ['chat'] };

let store: ReturnType<typeof createFakeStore>;
let published: Signal[];
let keys: Keys;

beforeEach(() => {
  store = createFakeStore();
  published = [];
  const clock: Clock = { now: () => NOW, after: () => () => undefined };
  const signals = {
    publish: (signal: Signal) => void published.push(signal),
    subscribe: () => () => undefined,
  };
  keys = createKeys({ store, signals, clock });
});

describe('creating a key', () => {
  test('gives a secret of 256 random bits, of which the store gets the digest alone', async () => {
    const { key, secret } = await keys.create(draft);
    expect(secret).toMatch(/^llmgw_[0-9a-f]{64}$/);
    expect(key.prefix).toBe(secret.slice(0, 12));
    expect(store.digests.get(digestOf(secret))).toBe(key.keyId);
    expect(JSON.stringify([...store.keys, ...store.digests])).not.toContain(secret);
    expect((await keys.create(draft)).secret).not.toBe(secret);
  });

  test('starts it without limits, models or expiry unless told', async () => {
    const { key } = await keys.create(draft);
    expect(key).toEqual({
      ...{ keyId: key.keyId, name: 'Search team', prefix: key.prefix, scopes: ['chat'] },
      ...{ models: [], limits: {}, createdAt: new Date(NOW), metadata: {} },
    });
  });

  test('tidies what has one meaning', async () => {
    const { key } = await keys.create({
      name: '  padded ',
      scopes: ['models', 'chat', 'chat'],
      models: ['llama3*', 'llama3*', 'org/model:7b'],
    });
    expect(key).toMatchObject({
      name: 'padded',
      scopes: ['chat', 'models'],
      models: ['llama3*', 'org/model:7b'],
    });
  });

  test.each([
    ['name', { name: '' }],
    ['name', { name: ' ' }],
    ['name', { name: 'x'.repeat(201) }],
    ['name', { name: 'a\0b' }],
    ['name', { name: 'a\nb' }],
    ['name', { name: 'a\ud800b' }],
    ['scopes', { scopes: [] }],
    ['scopes[1]', { scopes: ['chat', 'root'] }],
    ['scopes[0]', { scopes: ['__proto__'] }],
    ['models[1]', { models: ['fine', 'not fine'] }],
    ['models[0]', { models: [''] }],
    ['models[0]', { models: ['x'.repeat(201)] }],
    ['models[0]', { models: ['a\0'] }],
    ['models', { models: Array.from({ length: 101 }, (_, i) => `m${i}`) }],
    ['limits.requestsPerMinute', { limits: { requestsPerMinute: 0 } }],
    ['limits.requestsPerMinute', { limits: { requestsPerMinute: -1 } }],
    ['limits.tokensPerMinute', { limits: { tokensPerMinute: 1.5 } }],
    ['limits.tokensPerMinute', { limits: { tokensPerMinute: Number.POSITIVE_INFINITY } }],
    ['limits.concurrentRequests', { limits: { concurrentRequests: Number.NaN } }],
    ['limits.concurrentRequests', { limits: { concurrentRequests: 1_000_000_001 } }],
    ['expiresAt', { expiresAt: new Date(NOW) }],
    ['expiresAt', { expiresAt: new Date(Number.NaN) }],
    ['expiresAt', { expiresAt: new Date('+275000-01-01T00:00:00Z') }],
    ['metadata', { metadata: { '': 'x' } }],
    ['metadata', { metadata: { a: '\0' } }],
    ['metadata', { metadata: { a: 'x'.repeat(501) } }],
    ['metadata', { metadata: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, ''])) }],
  ])('is refused for a wrong %s, by name, and nothing is kept: %j', async (param, change) => {
    await expect(keys.create({ ...draft, ...change })).rejects.toMatchObject({
      code: 'invalid_request',
      param,
    });
    expect(store.keys.size).toBe(0);
    expect(published).toEqual([]);
  });
});

describe('a key that exists', () => {
  let key: ApiKey;
  let secret: string;

  beforeEach(async () => {
    ({ key, secret } = await keys.create({ ...draft, limits: { requestsPerMinute: 5 } }));
    published.length = 0;
  });

  test('is found by its id, and listed', async () => {
    expect(await keys.get(key.keyId)).toEqual(key);
    expect(await keys.list()).toEqual([key]);
  });

  test('is updated after the same checks as a new one', async () => {
    await keys.update(key.keyId, { name: 'other', limits: { requestsPerMinute: null }, expiresAt: null });
    expect(store.changes).toEqual([{ name: 'other', limits: { requestsPerMinute: null }, expiresAt: null }]);
    for (const edit of [
      { name: '' },
      { scopes: ['root'] },
      { limits: { tokensPerMinute: 0 } },
      { expiresAt: new Date(NOW - 1) },
    ]) {
      await expect(keys.update(key.keyId, edit)).rejects.toMatchObject({ code: 'invalid_request' });
    }
    expect(store.changes).toHaveLength(1);
  });

  test('gets another secret, and the earlier ones end after the grace asked for', async () => {
    const rotated = await keys.rotate(key.keyId, { graceSeconds: 60 });
    expect(rotated.secret).toMatch(/^llmgw_[0-9a-f]{64}$/);
    expect(rotated.secret).not.toBe(secret);
    expect(store.digests.get(digestOf(rotated.secret))).toBe(key.keyId);
    await keys.rotate(key.keyId);
    expect(store.graces).toEqual([new Date(NOW + 60_000), new Date(NOW)]);
    for (const graceSeconds of [-1, 0.5, Number.NaN, 30 * 86_400 + 1]) {
      await expect(keys.rotate(key.keyId, { graceSeconds })).rejects.toMatchObject({ param: 'graceSeconds' });
    }
  });

  test('stays revoked: it takes no change and no secret, and a second revocation is no error', async () => {
    const revoked = await keys.revoke(key.keyId);
    expect(revoked.revokedAt).toEqual(new Date(NOW));
    expect(await keys.revoke(key.keyId)).toEqual(revoked);
    const refusal = { code: 'invalid_request', message: expect.stringContaining('revoked') };
    await expect(keys.update(key.keyId, { name: 'x' })).rejects.toMatchObject(refusal);
    await expect(keys.rotate(key.keyId)).rejects.toMatchObject(refusal);
  });

  test('tells every replica of each change', async () => {
    const signal: Signal = { type: 'keyChanged', keyId: key.keyId };
    await keys.update(key.keyId, { name: 'x' });
    expect(published).toEqual([signal]);
    await keys.rotate(key.keyId);
    await keys.revoke(key.keyId);
    expect(published).toEqual([signal, signal, signal]);
    const created = await keys.create(draft);
    expect(published.at(-1)).toEqual({ type: 'keyChanged', keyId: created.key.keyId });
  });
});

test.each(['key_unknown', '', "' or 1=1", 'a\0b', 'x'.repeat(1000)])('%j names no key', async (id) => {
  const missing = { code: 'not_found' };
  await expect(keys.get(id)).rejects.toMatchObject(missing);
  await expect(keys.update(id, { name: 'x' })).rejects.toMatchObject(missing);
  await expect(keys.rotate(id)).rejects.toMatchObject(missing);
  await expect(keys.revoke(id)).rejects.toMatchObject(missing);
  expect(published).toEqual([]);
});

test('a page outside the bounds is refused', async () => {
  for (const limit of [0, 201, 1.5]) {
    await expect(keys.list({ limit })).rejects.toMatchObject({ param: 'limit' });
  }
  await expect(keys.list({ after: 'a\0b' })).rejects.toMatchObject({ param: 'after' });
});

describe('demo keys', () => {
  test('are seeded once, and one that was revoked stays revoked', async () => {
    const seeded = await keys.seedDemoKeys();
    expect(seeded).toHaveLength(DEMO_KEYS.length);
    const first = seeded[0]?.keyId ?? '';
    await keys.revoke(first);
    expect(await keys.seedDemoKeys()).toEqual([]);
    expect((await keys.get(first)).revokedAt).toEqual(new Date(NOW));
  });

  test('have secrets of the usual form and prefixes that tell them apart', () => {
    for (const { secret } of DEMO_KEYS) expect(secret).toMatch(/^llmgw_[A-Za-z0-9]{32,200}$/);
    expect(new Set(DEMO_KEYS.map(({ secret }) => secret.slice(0, 12))).size).toBe(DEMO_KEYS.length);
    expect(DEMO_KEYS[0].secret).toBe('llmgw_test123456789abcdef0123456789abcdef0123456789abcdef0123456789');
  });
});

describe('the bootstrap admin key', () => {
  const secret = `llmgw_${'a1'.repeat(16)}`;

  test('is created with every scope, once', async () => {
    expect(await keys.bootstrapAdminKey(secret)).toBe(true);
    expect(await keys.bootstrapAdminKey(secret)).toBe(false);
    const [key] = await keys.list();
    expect(key).toMatchObject({ scopes: SCOPES, models: [], limits: {}, prefix: 'llmgw_a1a1a1' });
    expect(store.digests.get(digestOf(secret))).toBe(key?.keyId);
  });

  test.each([
    '',
    'letmein',
    'llmgw_short',
    `llmgw_${'a'.repeat(31)}`,
    `sk-${'a'.repeat(40)}`,
    `${`llmgw_${'a'.repeat(40)}`}\n`,
  ])('is refused where it is easy to guess or malformed, without being repeated: %j', async (weak) => {
    const refused = keys.bootstrapAdminKey(weak);
    await expect(refused).rejects.toMatchObject({ code: 'invalid_request' });
    if (weak) await expect(refused).rejects.toMatchObject({ message: expect.not.stringContaining(weak) });
    expect(store.keys.size).toBe(0);
  });
});

/** Keeps what it is told, and records changes instead of carrying them out. */
function createFakeStore() {
  const keys = new Map<string, ApiKey>();
  const digests = new Map<string, string>();
  const changes: unknown[] = [];
  const graces: Date[] = [];
  const store: KeyStore = {
    findByDigest: async (digest) => keys.get(digests.get(digest) ?? ''),
    get: async (keyId) => keys.get(keyId),
    list: async () => [...keys.values()],
    async create(key, digest) {
      if (digests.has(digest)) return false;
      keys.set(key.keyId, key);
      digests.set(digest, key.keyId);
      return true;
    },
    async update(keyId, change) {
      changes.push(change);
      return keys.get(keyId);
    },
    async rotate(keyId, secret, graceUntil) {
      digests.set(secret.digest, keyId);
      graces.push(graceUntil);
      return keys.get(keyId);
    },
    async revoke(keyId, at) {
      const key = keys.get(keyId);
      if (key && !key.revokedAt) keys.set(keyId, { ...key, revokedAt: at });
      return keys.get(keyId);
    },
    touch: async () => undefined,
  };
  return { ...store, keys, digests, changes, graces };
}
