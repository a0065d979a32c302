import { describe, expect, jest, test } from '@jest/globals';
import { type Authenticator, createAuthenticator } from '../../../src/core/authenticate.ts';
import { FRESH_MS, STALE_MS } from '../../../src/core/key-cache.ts';
import { digestOf } from '../../../src/core/keys.ts';
import type { KeyStore, Signals } from '../../../src/core/ports.ts';
import { GatewayError } from '../../../src/domain/error.ts';
import type { ApiKey, Principal } from '../../../src/domain/principal.ts';
import { createTestClock } from '../../support/clock.ts';
import { PRINCIPAL, SILENT } from '../../support/pipeline.ts';

const SECRET = `llmgw_${'a'.repeat(64)}`;
const BEARER = `Bearer ${SECRET}`;

function setUp() {
  const clock = createTestClock();
  const key: ApiKey = { ...PRINCIPAL, prefix: 'llmgw_aaaaaa', createdAt: new Date(0), metadata: {} };
  const rows = new Map<string, ApiKey>([[digestOf(SECRET), key]]);
  const state = { down: false, lookups: 0, touched: new Map<string, Date>() };
  const store = {
    async findByDigest(digest: string) {
      state.lookups++;
      if (state.down) throw new GatewayError('storage_unavailable', 'The key database is away.');
      return rows.get(digest);
    },
    async touch(lastUsed: ReadonlyMap<string, Date>) {
      for (const [id, at] of lastUsed) state.touched.set(id, at);
    },
  } as Partial<KeyStore> as KeyStore;
  const listeners = new Set<Parameters<Signals['subscribe']>[0]>();
  const signals: Signals = {
    publish: (signal) => {
      for (const listener of listeners) listener(signal);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const lose = () => {
    for (const listener of listeners) listener({ type: 'lost' });
  };
  const failures: string[] = [];
  const telemetry = { ...SILENT, keyLookupFailed: (code: string) => void failures.push(code) };
  const authenticator = createAuthenticator({ keys: store, signals, telemetry, clock });
  return { clock, key, rows, state, store, signals, lose, listeners, failures, authenticator };
}

const codeOf = (authenticator: Authenticator, authorization?: string) =>
  Promise.try(authenticator.authenticate, authorization).then(
    () => 'ok',
    (error) => error.code,
  );

describe('credentials', () => {
  test('a valid key gives its principal', async () => {
    const { authenticator } = setUp();
    expect(await authenticator.authenticate(BEARER)).toMatchObject({
      keyId: 'key_1',
      scopes: PRINCIPAL.scopes,
    });
    expect(await codeOf(authenticator, `bearer  ${SECRET}`)).toBe('ok');
  });

  test.each([undefined, ''])('no credential (%j) is told from a wrong one', async (authorization) => {
    expect(await codeOf(setUp().authenticator, authorization)).toBe('missing_api_key');
  });

  test.each([
    'Bearer',
    'Bearer ',
    `Basic ${SECRET}`,
    SECRET,
    "Bearer ' OR '1'='1",
    'Bearer llmgw_',
    'Bearer llmgw_short',
    `Bearer llmgw_${'a'.repeat(65_536)}`,
    `Bearer ${SECRET}\0`,
    `Bearer ${SECRET}, Bearer ${SECRET}`,
    `Bearer llmgw_${'ä'.repeat(64)}`,
    'Bearer sk-0123456789012345678901234567890123456789',
  ])('what cannot be a key is refused without a look at the database: %.30j', async (authorization) => {
    const { authenticator, state } = setUp();
    expect(await codeOf(authenticator, authorization)).toBe('invalid_api_key');
    expect(state.lookups).toBe(0);
  });

  test('unknown, revoked and expired keys get the same answer', async () => {
    const { authenticator, rows, key, clock } = setUp();
    const secrets = ['b', 'c', 'd'].map((letter) => `llmgw_${letter.repeat(64)}`);
    const [, revoked = '', expired = ''] = secrets;
    rows.set(digestOf(revoked), { ...key, revokedAt: new Date(clock.now()) });
    rows.set(digestOf(expired), { ...key, expiresAt: new Date(clock.now()) });
    const errors = await Promise.all(
      secrets.map((secret) =>
        Promise.try(authenticator.authenticate, `Bearer ${secret}`).catch((error) => error),
      ),
    );
    expect(new Set(errors.map((error) => `${error.code} ${error.message}`)).size).toBe(1);
    expect(errors[0]).toBeInstanceOf(GatewayError);
  });

  test('a key that expires while cached stops at that moment', async () => {
    const { authenticator, rows, key, clock } = setUp();
    rows.set(digestOf(SECRET), { ...key, expiresAt: new Date(clock.now() + 1000) });
    expect(await codeOf(authenticator, BEARER)).toBe('ok');
    await clock.advance(1000);
    expect(await codeOf(authenticator, BEARER)).toBe('invalid_api_key');
  });
});

describe('the cache', () => {
  test('makes a thousand requests one look-up, also when they come at once', async () => {
    const { authenticator, state } = setUp();
    await Promise.all(Array.from({ length: 500 }, () => authenticator.authenticate(BEARER)));
    for (let n = 0; n < 500; n++) await authenticator.authenticate(BEARER);
    expect(state.lookups).toBe(1);
  });

  test('remembers an unknown secret for a while, so that guesses do not reach the database', async () => {
    const { authenticator, state, clock, rows } = setUp();
    rows.clear();
    for (let n = 0; n < 10; n++) await codeOf(authenticator, BEARER);
    expect(state.lookups).toBe(1);
    await clock.advance(5_000);
    await codeOf(authenticator, BEARER);
    expect(state.lookups).toBe(2);
  });

  test('refreshes a key in use before it is too old, without a request waiting for it', async () => {
    const { authenticator, state, clock } = setUp();
    await authenticator.authenticate(BEARER);
    await clock.advance(FRESH_MS / 2 + 1);
    await authenticator.authenticate(BEARER);
    await clock.advance(FRESH_MS / 2 + 1);
    expect(state.lookups).toBe(2);
    await authenticator.authenticate(BEARER);
    await clock.advance(0);
    expect(state.lookups).toBe(3);
  });

  test('without a signal, a revocation is seen when the key is no longer fresh', async () => {
    const { authenticator, rows, key, clock } = setUp();
    await authenticator.authenticate(BEARER);
    rows.set(digestOf(SECRET), { ...key, revokedAt: new Date(clock.now()) });
    await clock.advance(FRESH_MS);
    expect(await codeOf(authenticator, BEARER)).toBe('invalid_api_key');
  });
});

describe('signals', () => {
  test('a changed key is looked up again at once, another key is not', async () => {
    const { authenticator, rows, key, clock, signals, state } = setUp();
    await authenticator.authenticate(BEARER);
    signals.publish({ type: 'keyChanged', keyId: 'key_2' });
    await authenticator.authenticate(BEARER);
    expect(state.lookups).toBe(1);
    rows.set(digestOf(SECRET), { ...key, revokedAt: new Date(clock.now()) });
    signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    expect(await codeOf(authenticator, BEARER)).toBe('invalid_api_key');
  });

  test('a key that was just created works at once, though it was refused a moment ago', async () => {
    const { authenticator, rows, key, signals } = setUp();
    rows.clear();
    expect(await codeOf(authenticator, BEARER)).toBe('invalid_api_key');
    rows.set(digestOf(SECRET), key);
    signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    expect(await codeOf(authenticator, BEARER)).toBe('ok');
  });

  test.each([
    [
      'a change',
      (all: ReturnType<typeof setUp>) => all.signals.publish({ type: 'keyChanged', keyId: 'key_1' }),
    ],
    ['a loss of signals', (all: ReturnType<typeof setUp>) => all.lose()],
  ])('%s during a look-up is not overwritten by what the look-up had read', async (_what, happen) => {
    const all = setUp();
    const { authenticator, store, key, clock } = all;
    const first = Promise.withResolvers<ApiKey>();
    const find = jest.spyOn(store, 'findByDigest');
    find.mockReturnValueOnce(first.promise);
    find.mockResolvedValueOnce({ ...key, revokedAt: new Date(clock.now()) });
    const pending = codeOf(authenticator, BEARER);
    happen(all);
    first.resolve(key);
    expect(await pending).toBe('invalid_api_key');
  });

  test('lost signals age every key of a cache that holds several', async () => {
    const { authenticator, rows, key, state, lose } = setUp();
    const secrets = ['b', 'c', 'd'].map((letter) => `llmgw_${letter.repeat(64)}`);
    for (const secret of secrets) rows.set(digestOf(secret), { ...key, keyId: secret });
    for (const secret of secrets) await authenticator.authenticate(`Bearer ${secret}`);
    lose();
    for (const secret of secrets) await authenticator.authenticate(`Bearer ${secret}`);
    expect(state.lookups).toBe(2 * secrets.length);
  });

  test('after lost signals everything is looked up again, but still there in an outage', async () => {
    const { authenticator, state, lose } = setUp();
    await authenticator.authenticate(BEARER);
    lose();
    state.down = true;
    expect(await codeOf(authenticator, BEARER)).toBe('ok');
    state.down = false;
    await authenticator.authenticate(BEARER);
    expect(state.lookups).toBe(3);
  });
});

describe('with the database away', () => {
  test('a cached key goes on until the ceiling, an unknown one is not called invalid', async () => {
    const { authenticator, state, clock } = setUp();
    await authenticator.authenticate(BEARER);
    state.down = true;
    await clock.advance(STALE_MS - 1);
    expect(await codeOf(authenticator, BEARER)).toBe('ok');
    expect(await codeOf(authenticator, `Bearer llmgw_${'b'.repeat(64)}`)).toBe('storage_unavailable');
    await clock.advance(1);
    expect(await codeOf(authenticator, BEARER)).toBe('storage_unavailable');
  });

  test('everything is as before once it is back, and each request that failed has been counted', async () => {
    const { authenticator, state, failures } = setUp();
    expect(await codeOf(authenticator, `Bearer llmgw_${'b'.repeat(64)}`)).toBe('invalid_api_key');
    state.down = true;
    for (let count = 0; count < 2; count++) {
      expect(await codeOf(authenticator, BEARER)).toBe('storage_unavailable');
    }
    state.down = false;
    expect(await codeOf(authenticator, BEARER)).toBe('ok');
    expect(failures).toEqual(['storage_unavailable', 'storage_unavailable']);
  });
});

test('changes of other keys do not keep a look-up from its end, nor make an unknown secret remembered', async () => {
  const { authenticator, store, signals, rows, state } = setUp();
  const { findByDigest } = store;
  store.findByDigest = (digest) => {
    if (state.lookups < 100) signals.publish({ type: 'keyChanged', keyId: `other_${state.lookups}` });
    return findByDigest(digest);
  };
  expect(await codeOf(authenticator, BEARER)).toBe('ok');
  expect(state.lookups).toBe(1);

  const unknown = `llmgw_${'b'.repeat(64)}`;
  const refused = codeOf(authenticator, `Bearer ${unknown}`);
  signals.publish({ type: 'keyChanged', keyId: 'key_2' });
  expect(await refused).toBe('invalid_api_key');
  rows.set(digestOf(unknown), {
    ...PRINCIPAL,
    keyId: 'key_2',
    prefix: '',
    createdAt: new Date(0),
    metadata: {},
  });
  expect(await codeOf(authenticator, `Bearer ${unknown}`)).toBe('ok');
});

describe('a watched key', () => {
  const watch = async ({ authenticator }: ReturnType<typeof setUp>) => {
    const errors: GatewayError[] = [];
    const principal = await authenticator.authenticate(BEARER);
    const stop = authenticator.watch(principal, (error) => errors.push(error));
    return { errors, stop, principal };
  };

  test('that is revoked says so at the signal, once', async () => {
    const all = setUp();
    const { errors } = await watch(all);
    all.rows.set(digestOf(SECRET), { ...all.key, revokedAt: new Date(all.clock.now()) });
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    await all.clock.advance(0);
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    await all.clock.advance(FRESH_MS * 3);
    expect(errors).toMatchObject([{ code: 'invalid_api_key' }]);
  });

  test('that is revoked without a signal says so when it is no longer fresh', async () => {
    const all = setUp();
    const { errors } = await watch(all);
    all.rows.set(digestOf(SECRET), { ...all.key, revokedAt: new Date(all.clock.now()) });
    await all.clock.advance(FRESH_MS);
    expect(errors).toHaveLength(1);
  });

  test('that other requests keep fresh is not believed for longer than any other', async () => {
    const all = setUp();
    const { errors } = await watch(all);
    await all.clock.advance(FRESH_MS / 2 + 1);
    await all.authenticator.authenticate(BEARER);
    await all.clock.advance(0);
    expect(all.state.lookups).toBe(2);
    all.rows.set(digestOf(SECRET), { ...all.key, revokedAt: new Date(all.clock.now()) });
    await all.clock.advance(FRESH_MS - 1);
    expect(errors).toHaveLength(0);
    await all.clock.advance(1);
    expect(errors).toHaveLength(1);
  });

  test('that was looked up a while before it came to be watched is not believed for longer either', async () => {
    const all = setUp();
    await all.authenticator.authenticate(BEARER);
    all.rows.set(digestOf(SECRET), { ...all.key, revokedAt: new Date(all.clock.now()) });
    await all.clock.advance(FRESH_MS / 2);
    const { errors } = await watch(all);
    await all.clock.advance(FRESH_MS / 2 - 1);
    expect(errors).toHaveLength(0);
    await all.clock.advance(1);
    expect(errors).toHaveLength(1);
  });

  test('that expires says so at that moment', async () => {
    const all = setUp();
    all.rows.set(digestOf(SECRET), { ...all.key, expiresAt: new Date(all.clock.now() + 5_000) });
    const { errors } = await watch(all);
    await all.clock.advance(4_999);
    expect(errors).toHaveLength(0);
    await all.clock.advance(1);
    expect(errors).toHaveLength(1);
  });

  test('whose expiry is put off lives until then, and is not looked at without pause meanwhile', async () => {
    const all = setUp();
    const expiringIn = (ms: number) => ({ ...all.key, expiresAt: new Date(all.clock.now() + ms) });
    all.rows.set(digestOf(SECRET), expiringIn(5_000));
    const { errors } = await watch(all);
    all.rows.set(digestOf(SECRET), expiringIn(FRESH_MS * 2));
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    await all.clock.advance(FRESH_MS * 2 - 1);
    expect(errors).toHaveLength(0);
    await all.clock.advance(1);
    expect(errors).toHaveLength(1);
  });

  test('whose expiry is brought forward ends then', async () => {
    const all = setUp();
    const { errors } = await watch(all);
    all.rows.set(digestOf(SECRET), { ...all.key, expiresAt: new Date(all.clock.now() + 5_000) });
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    await all.clock.advance(4_999);
    expect(errors).toHaveLength(0);
    await all.clock.advance(1);
    expect(errors).toHaveLength(1);
  });

  test('that expires during a long outage of the database ends all the same', async () => {
    const all = setUp();
    const lifeMs = STALE_MS + FRESH_MS;
    all.rows.set(digestOf(SECRET), { ...all.key, expiresAt: new Date(all.clock.now() + lifeMs) });
    const { errors } = await watch(all);
    all.state.down = true;
    await all.clock.advance(lifeMs - 1);
    expect(errors).toHaveLength(0);
    await all.clock.advance(1);
    expect(errors).toHaveLength(1);
  });

  test('that has changed is told as it is now, and can be watched as such', async () => {
    const all = setUp();
    const seen: Principal[] = [];
    const principal = await all.authenticator.authenticate(BEARER);
    const ignore = () => undefined;
    all.authenticator.watch(principal, ignore, (now) => seen.push(now));
    all.rows.set(digestOf(SECRET), { ...all.key, scopes: ['models'] });
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    await all.clock.advance(0);
    const now = seen.at(-1) ?? principal;
    expect(now.scopes).toEqual(['models']);
    expect(() => all.authenticator.watch(now, ignore)).not.toThrow();
  });

  test('that was revoked before it came to be watched says so at once', async () => {
    const all = setUp();
    const principal = await all.authenticator.authenticate(BEARER);
    all.rows.set(digestOf(SECRET), { ...all.key, revokedAt: new Date(all.clock.now()) });
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    const errors: GatewayError[] = [];
    all.authenticator.watch(principal, (error) => errors.push(error));
    await all.clock.advance(0);
    expect(errors).toMatchObject([{ code: 'invalid_api_key' }]);
  });

  test('that had changed before it came to be watched is told at once', async () => {
    const all = setUp();
    const principal = await all.authenticator.authenticate(BEARER);
    all.authenticator.watch(principal, () => undefined);
    all.rows.set(digestOf(SECRET), { ...all.key, scopes: ['models'] });
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    await all.clock.advance(0);
    const seen: Principal[] = [];
    all.authenticator.watch(
      principal,
      () => undefined,
      (now) => seen.push(now),
    );
    await all.clock.advance(0);
    expect(seen.map(({ scopes }) => scopes)).toEqual([['models']]);
  });

  test('that only changed, or whose database is away, is left alone', async () => {
    const all = setUp();
    const { errors } = await watch(all);
    all.rows.set(digestOf(SECRET), { ...all.key, name: 'renamed' });
    all.signals.publish({ type: 'keyChanged', keyId: 'key_1' });
    await all.clock.advance(0);
    all.state.down = true;
    all.lose();
    await all.clock.advance(FRESH_MS * 2);
    expect(errors).toEqual([]);
  });

  test('is let go with its last watcher', async () => {
    const all = setUp();
    const { stop, principal } = await watch(all);
    const stopSecond = all.authenticator.watch(principal, () => undefined);
    const before = all.clock.pending();
    stop();
    expect(all.clock.pending()).toBe(before);
    stopSecond();
    expect(all.clock.pending()).toBe(before - 1);
  });
});

test('when keys were last used is written down in the background, and at the end', async () => {
  const { authenticator, state, clock, listeners } = setUp();
  await authenticator.authenticate(BEARER);
  const first = new Date(clock.now());
  await clock.advance(60_000);
  expect(state.touched.get('key_1')).toEqual(first);
  await authenticator.authenticate(BEARER);
  await authenticator.close();
  expect(state.touched.get('key_1')).toEqual(new Date(clock.now()));
  expect(listeners.size).toBe(0);
  expect(clock.pending()).toBe(0);
});

test('what runs under a key uses it, however long ago the key was shown', async () => {
  const { authenticator, state, clock } = setUp();
  const principal = await authenticator.authenticate(BEARER);
  await clock.advance(600_000);
  const stop = authenticator.watch(principal, () => undefined);
  const begun = new Date(clock.now());
  stop();
  await authenticator.close();
  expect(state.touched.get('key_1')).toEqual(begun);
});

test('closing waits for a note that is being written, and writes none after it', async () => {
  const { authenticator, store, clock } = setUp();
  let written = () => {};
  store.touch = () =>
    new Promise<void>((resolve) => {
      written = resolve;
    });
  await authenticator.authenticate(BEARER);
  await clock.advance(60_000);
  let closed = false;
  const closing = authenticator.close().then(() => {
    closed = true;
  });
  await clock.advance(0);
  expect(closed).toBe(false);
  written();
  await closing;
  expect(clock.pending()).toBe(0);
});
