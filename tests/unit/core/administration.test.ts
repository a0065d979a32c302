import { beforeEach, describe, expect, test } from '@jest/globals';
import { type Administration, createAdministration } from '../../../src/core/administration.ts';
import { createKeys } from '../../../src/core/keys.ts';
import type { KeyStore, LedgerReader, RecordQuery, UsageQuery } from '../../../src/core/ports.ts';
import type { ApiKey, Principal, Scope } from '../../../src/domain/principal.ts';
import { SCOPES } from '../../../src/domain/principal.ts';
import type { UsageRecord } from '../../../src/domain/record.ts';

const NOW = Date.UTC(2026, 5, 1);

let keys: Map<string, ApiKey>;
let secrets: number;
let asked: (UsageQuery | RecordQuery)[];
let administration: Administration;

beforeEach(() => {
  keys = new Map();
  secrets = 0;
  asked = [];
  administration = createAdministration(
    createKeys({
      store: createFakeStore(),
      signals: { publish: () => undefined, subscribe: () => () => undefined },
      clock: { now: () => NOW, after: () => () => undefined },
    }),
    createFakeReader(),
  );
});

function createFakeStore(): KeyStore {
  return {
    findByDigest: async () => undefined,
    get: async (keyId) => keys.get(keyId),
    list: async () => [...keys.values()],
    async create(key) {
      keys.set(key.keyId, key);
      return true;
    },
    async update(keyId, { limits: _limits, expiresAt: _expiresAt, ...change }) {
      const key = keys.get(keyId);
      if (key) keys.set(keyId, { ...key, ...change });
      return keys.get(keyId);
    },
    async rotate(keyId) {
      secrets += 1;
      return keys.get(keyId);
    },
    async revoke(keyId, revokedAt) {
      const key = keys.get(keyId);
      if (key) keys.set(keyId, { ...key, revokedAt });
      return keys.get(keyId);
    },
    touch: async () => undefined,
  };
}

const RECORDS = new Map(
  ['key_own', 'key_other'].map((keyId) => [`record of ${keyId}`, { id: 'r', keyId } as UsageRecord]),
);

function createFakeReader(): LedgerReader {
  return {
    async buckets(query) {
      asked.push(query);
      return [];
    },
    async records(query) {
      asked.push(query);
      return [];
    },
    record: async (id) => RECORDS.get(id),
  };
}

/** A key that is in the store, as its own holder. */
function holder(keyId: string, scopes: readonly Scope[], models: readonly string[] = []): Principal {
  const key = { keyId, name: keyId, prefix: 'llmgw_', scopes, models, limits: {}, metadata: {} };
  keys.set(keyId, { ...key, createdAt: new Date(NOW) });
  return key;
}

const without = (...scopes: readonly Scope[]) => SCOPES.filter((scope) => !scopes.includes(scope));
const denied = (text: string) => ({ code: 'not_permitted', message: expect.stringContaining(text) });
const absent = { code: 'not_found' };

describe('keys', () => {
  test('are seen with keys:read; without it a caller sees its own and learns of no other', async () => {
    holder('key_other', ['chat']);
    const reader = holder('key_reader', ['keys:read']);
    expect(await administration.getKey(reader, 'key_other')).toMatchObject({ keyId: 'key_other' });
    expect(await administration.listKeys(reader)).toHaveLength(2);
    await expect(administration.getKey(reader, 'key_none')).rejects.toMatchObject(absent);

    const blind = holder('key_own', without('keys:read'));
    expect(await administration.getKey(blind, 'key_own')).toMatchObject({ keyId: 'key_own' });
    await expect(administration.listKeys(blind)).rejects.toMatchObject(denied('keys:read'));
    for (const keyId of ['key_other', 'key_none']) {
      await expect(administration.getKey(blind, keyId)).rejects.toMatchObject(denied('keys:read'));
    }
  });

  test('are changed by nobody without keys:write, their own included', async () => {
    const caller = holder('key_own', without('keys:write'));
    const lacks = denied('keys:write');
    await expect(administration.createKey(caller, { name: 'x', scopes: ['chat'] })).rejects.toMatchObject(
      lacks,
    );
    for (const keyId of ['key_own', 'key_none']) {
      await expect(administration.updateKey(caller, keyId, {})).rejects.toMatchObject(lacks);
      await expect(administration.rotateKey(caller, keyId)).rejects.toMatchObject(lacks);
      await expect(administration.revokeKey(caller, keyId)).rejects.toMatchObject(lacks);
    }
    expect([...keys.keys()]).toEqual(['key_own']);
  });

  test('that do not exist are not found by whoever may change keys', async () => {
    const caller = holder('key_own', SCOPES);
    await expect(administration.updateKey(caller, 'key_none', {})).rejects.toMatchObject(absent);
    await expect(administration.rotateKey(caller, 'key_none')).rejects.toMatchObject(absent);
    await expect(administration.revokeKey(caller, 'key_none')).rejects.toMatchObject(absent);
  });

  test('are made, changed, rotated and revoked by their administrator', async () => {
    const caller = holder('key_admin', SCOPES);
    const { key, secret } = await administration.createKey(caller, { name: 'App', scopes: SCOPES });
    expect(secret).toMatch(/^llmgw_/);
    expect(await administration.updateKey(caller, key.keyId, { name: 'New' })).toMatchObject({ name: 'New' });
    expect((await administration.rotateKey(caller, key.keyId)).secret).not.toBe(secret);
    expect(await administration.revokeKey(caller, key.keyId)).toMatchObject({ revokedAt: new Date(NOW) });
  });

  test('get no scope from a caller who lacks it, and a scope that does not exist is invalid', async () => {
    const caller = holder('key_own', without('keys:read'));
    const weak = holder('key_weak', ['chat']);
    const scopes = ['chat', 'keys:read'];
    const lacks = denied('keys:read');
    await expect(administration.createKey(caller, { name: 'x', scopes })).rejects.toMatchObject(lacks);
    for (const keyId of [caller.keyId, weak.keyId]) {
      await expect(administration.updateKey(caller, keyId, { scopes })).rejects.toMatchObject(lacks);
    }
    for (const unknown of ['root', '__proto__']) {
      await expect(administration.createKey(caller, { name: 'x', scopes: [unknown] })).rejects.toMatchObject({
        code: 'invalid_request',
        param: 'scopes[0]',
      });
    }
    expect(keys.size).toBe(2);
    expect(keys.get('key_weak')?.scopes).toEqual(['chat']);
  });

  test('get no model from a caller who may not use it', async () => {
    const caller = holder('key_own', SCOPES, ['llama3*', 'qwen3:8b']);
    const weak = holder('key_weak', ['chat'], ['llama3.1:8b']);
    const beyond = { ...denied('models'), param: 'models' };
    for (const models of [undefined, [], ['*'], ['llama*'], ['llama3.1:8b', 'mistral:7b']]) {
      const draft = { name: 'x', scopes: ['chat'], ...(models && { models }) };
      await expect(administration.createKey(caller, draft)).rejects.toMatchObject(beyond);
      if (!models) continue;
      for (const keyId of [caller.keyId, weak.keyId]) {
        await expect(administration.updateKey(caller, keyId, { models })).rejects.toMatchObject(beyond);
      }
    }
    const within = { name: 'x', scopes: ['chat'], models: ['llama3.2:*', 'qwen3:8b'] };
    expect((await administration.createKey(caller, within)).key.models).toEqual(within.models);
    expect(await administration.updateKey(caller, 'key_weak', { name: 'y' })).toMatchObject({ name: 'y' });
  });

  test.each<[string, readonly Scope[], readonly string[], string]>([
    ['scopes', SCOPES, ['llama3*'], 'keys:read'],
    ['models', ['chat'], [], 'models'],
  ])(
    'with more %s than the caller’s are not taken over, but can be revoked',
    async (_, scopes, models, lack) => {
      holder('key_strong', scopes, models);
      const caller = holder('key_own', ['keys:write', 'chat', 'embeddings', 'models'], ['llama3*']);
      await expect(administration.rotateKey(caller, 'key_strong')).rejects.toMatchObject(denied(lack));
      const weaker = { scopes: ['chat'], models: ['llama3*'] };
      await expect(administration.updateKey(caller, 'key_strong', weaker)).rejects.toMatchObject(
        denied(lack),
      );
      expect(secrets).toBe(0);
      expect(await administration.revokeKey(caller, 'key_strong')).toMatchObject({
        revokedAt: new Date(NOW),
      });
    },
  );
});

const { signal } = new AbortController();
const day = { from: new Date('2026-01-01T00:00Z'), to: new Date('2026-01-02T00:00Z') };
const usage = { ...day, interval: 'day', groupBy: ['key'] } as const satisfies UsageQuery;

describe('usage and records', () => {
  test('are seen by nobody without usage:read, whatever they ask for', async () => {
    const caller = holder('key_own', without('usage:read'));
    const lacks = denied('usage:read');
    await expect(administration.usage(caller, usage, signal)).rejects.toMatchObject(lacks);
    await expect(administration.records(caller, { limit: 0 })).rejects.toMatchObject(lacks);
    for (const id of ['record of key_own', 'none']) {
      await expect(administration.record(caller, id)).rejects.toMatchObject(lacks);
    }
    expect(asked).toEqual([]);
  });

  test.each<[readonly string[] | undefined, readonly string[]]>([
    [undefined, ['key_own']],
    [['key_own'], ['key_own']],
    [['key_other', 'key_own'], ['key_own']],
    [['key_other'], []],
    [[], []],
  ])('of keys %j are, without keys:read, those of keys %j', async (keyIds, seen) => {
    const caller = holder('key_own', ['usage:read']);
    const filter = { ...(keyIds && { keyIds }), model: 'llama3.1:8b' };
    await administration.usage(caller, { ...usage, ...filter }, signal);
    await administration.records(caller, { limit: 5, ...filter });
    expect(asked).toEqual([
      { ...usage, keyIds: seen, model: 'llama3.1:8b' },
      { limit: 5, keyIds: seen, model: 'llama3.1:8b' },
    ]);
  });

  test('are, with keys:read as well, every key’s or those that were asked for', async () => {
    const caller = holder('key_own', ['usage:read', 'keys:read']);
    for (const filter of [{}, { keyIds: ['key_other'] }, { keyIds: [] }]) {
      await administration.usage(caller, { ...usage, ...filter }, signal);
      expect(asked.pop()).toEqual({ ...usage, ...filter });
    }
  });

  test('show another key’s record as one that does not exist', async () => {
    const caller = holder('key_own', ['usage:read']);
    expect(await administration.record(caller, 'record of key_own')).toMatchObject({ keyId: 'key_own' });
    const refusals = ['record of key_other', 'none'].map((id) =>
      administration.record(caller, id).catch((error: unknown) => error),
    );
    const [foreign, missing] = await Promise.all(refusals);
    expect(foreign).toMatchObject(absent);
    expect(foreign).toEqual(missing);

    const seer = holder('key_seer', ['usage:read', 'keys:read']);
    expect(await administration.record(seer, 'record of key_other')).toMatchObject({ keyId: 'key_other' });
    await expect(administration.record(seer, 'none')).rejects.toMatchObject(absent);
  });

  const never = new Date(Number.NaN);
  const tooFar = new Date('+010000-01-01T00:00:00Z');
  const manyKeys = Array.from({ length: 201 }, (_, i) => `key_${i}`);

  test.each<[string, Partial<UsageQuery>]>([
    ['from', { from: never }],
    ['from', { from: new Date(-1) }],
    ['to', { to: never }],
    ['to', { to: tooFar }],
    ['to', { to: day.from }],
    ['to', { from: day.to, to: day.from }],
    ['from', { to: new Date(day.from.getTime() + 366 * 86_400_000 + 1) }],
    ['keyIds', { keyIds: manyKeys }],
  ])('name %s as what is wrong with a question about usage', async (param, change) => {
    const caller = holder('key_own', ['usage:read']);
    await expect(administration.usage(caller, { ...usage, ...change }, signal)).rejects.toMatchObject({
      code: 'invalid_request',
      param,
    });
    expect(asked).toEqual([]);
  });

  test.each<[string, Partial<RecordQuery>]>([
    ['limit', { limit: 0 }],
    ['limit', { limit: 501 }],
    ['limit', { limit: 1.5 }],
    ['limit', { limit: Number.NaN }],
    ['from', { from: never }],
    ['to', { to: tooFar }],
    ['after', { after: { startedAt: never, id: 'x' } }],
    ['after', { after: { startedAt: new Date(-1), id: 'x' } }],
    ['keyIds', { keyIds: manyKeys }],
  ])('name %s as what is wrong with a question about records', async (param, change) => {
    const caller = holder('key_own', ['usage:read']);
    await expect(administration.records(caller, { limit: 5, ...change })).rejects.toMatchObject({
      code: 'invalid_request',
      param,
    });
    expect(asked).toEqual([]);
  });

  test('may be asked for over a whole leap year, and from the first of times to the last', async () => {
    const caller = holder('key_own', ['usage:read', 'keys:read']);
    const to = new Date(day.from.getTime() + 366 * 86_400_000);
    await administration.usage(caller, { ...usage, to, keyIds: manyKeys.slice(1) }, signal);
    const all = { limit: 500, from: new Date(0), to: new Date('9999-12-31T23:59:59.999Z') };
    await administration.records(caller, all);
    expect(asked).toEqual([{ ...usage, to, keyIds: manyKeys.slice(1) }, all]);
  });
});
