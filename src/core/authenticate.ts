import { Bag } from '../domain/bag.ts';
import { GatewayError, toGatewayError } from '../domain/error.ts';
import type { ApiKey, Principal } from '../domain/principal.ts';
import { type CachedKey, createKeyCache, FRESH_MS } from './key-cache.ts';
import { digestOf } from './keys.ts';
import type { Clock, KeyStore, Signals, Telemetry } from './ports.ts';

const TOUCH_EVERY_MS = 60_000;
/** One for all who do not care. */
const IGNORE = () => undefined;

/** The scheme is case-insensitive (RFC 9110, section 11.1); secrets are letters and digits behind the prefix. */
const BEARER = /^Bearer +(llmgw_[A-Za-z0-9]{16,200}) *$/i;

export interface Authenticator {
  /** See `Gateway.authenticate`. */
  authenticate(authorization: string | undefined): Principal | Promise<Principal>;
  /**
   * Keeps an eye on a key for as long as something runs under it.
   * @param principal as it came from `authenticate`.
   * @param onInvalid called once, when the key has been revoked or has expired.
   * @param onSeen called whenever the key has been looked at again, with what it is now: as `authenticate` would say.
   * @returns the function that ends the watch.
   */
  watch(
    principal: Principal,
    onInvalid: (error: GatewayError) => void,
    onSeen?: (principal: Principal) => void,
  ): () => void;
  /** Writes down when keys were last used, and stops listening. */
  close(): Promise<void>;
}

/** Secrets to principals, and whether those still hold. */
export function createAuthenticator(deps: {
  readonly keys: KeyStore;
  readonly signals: Signals;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}): Authenticator {
  const cache = createKeyCache(deps);
  const { clock } = deps;
  /** Principals are keys as they were found; the digest they were found by tells one secret of a key from another. */
  const found = new WeakMap<Principal, { readonly digest: string; readonly key: ApiKey }>();
  const watches = createWatches(deps, async (digest) => {
    const cached = await cache.find(digest);
    if (cached) found.set(cached.key, { digest, key: cached.key });
    return cached;
  });
  const lastUsed = createLastUsed(deps);
  const countFailure = (error: unknown): never => {
    deps.telemetry.keyLookupFailed(toGatewayError(error).code);
    throw error;
  };

  const admit = (cached: CachedKey | undefined, digest: string): Principal => {
    const key = cached?.key;
    if (!isValid(key, clock.now())) throw invalidKey();
    if (found.get(key)?.digest !== digest) found.set(key, { digest, key });
    lastUsed.note(key.keyId);
    return key;
  };

  return {
    authenticate(authorization) {
      if (authorization === undefined || authorization === '') {
        const message = 'You did not provide an API key. Send it as `Authorization: Bearer llmgw_…`.';
        throw new GatewayError('missing_api_key', message);
      }
      const secret = BEARER.exec(authorization)?.[1];
      if (secret === undefined) throw invalidKey();
      const digest = digestOf(secret);
      const cached = cache.find(digest);
      if (!(cached instanceof Promise)) return admit(cached, digest);
      return cached.catch(countFailure).then((looked) => admit(looked, digest));
    },
    watch(principal, onInvalid, onSeen = IGNORE) {
      const origin = found.get(principal);
      if (origin === undefined) throw new Error('only an authenticated principal can be watched');
      // What runs under a key uses it, also where the key was shown long ago, as on a WebSocket.
      lastUsed.note(principal.keyId);
      return watches.add(origin.digest, origin.key, { onInvalid, onSeen });
    },
    async close() {
      cache.close();
      watches.close();
      await lastUsed.close();
    },
  };
}

/** Unknown, revoked and expired look the same from outside. */
function invalidKey(): GatewayError {
  return new GatewayError('invalid_api_key', 'The API key is not valid.');
}

function isValid(key: ApiKey | undefined, now: number): key is ApiKey {
  return key !== undefined && !key.revokedAt && !(key.expiresAt && key.expiresAt.getTime() <= now);
}

interface Watch {
  /** As last seen. */
  key: ApiKey;
  readonly listeners: Bag<WatchListener>;
  cancelTimer: () => void;
}

interface WatchListener {
  onInvalid(error: GatewayError): void;
  onSeen(key: ApiKey): void;
}

/** One watch per secret in use, however many requests run under it: by signal, and now and then without one. */
function createWatches(
  { signals, clock }: { readonly signals: Signals; readonly clock: Clock },
  find: (digest: string) => Promise<CachedKey | undefined>,
) {
  const watches = new Map<string, Watch>();

  const check = async (digest: string, watch: Watch): Promise<void> => {
    // With the database away, the key is taken for what it was: it is not cut, unless it has expired since.
    const seen = await find(digest).catch(() => ({ key: watch.key, checkedAt: clock.now() }));
    if (watches.get(digest) !== watch) return;
    watch.cancelTimer();
    const key = seen?.key;
    if (isValid(key, clock.now())) {
      watch.key = key;
      checkLater(digest, watch, seen?.checkedAt);
      for (const { onSeen } of watch.listeners) onSeen(key);
      return;
    }
    watches.delete(digest);
    for (const { onInvalid } of watch.listeners) onInvalid(invalidKey());
  };
  const checkLater = (digest: string, watch: Watch, checkedAt = clock.now()) => {
    const { expiresAt } = watch.key;
    const left = expiresAt ? Math.max(0, expiresAt.getTime() - clock.now()) : FRESH_MS;
    // Counted from when it was looked up, which may have been a while ago, for another request. A key that is older than
    // that already has outlasted an outage so far.
    const fresh = checkedAt + FRESH_MS - clock.now();
    const next = Math.min(left, fresh > 0 ? fresh : FRESH_MS);
    watch.cancelTimer = clock.after(next, () => void check(digest, watch));
  };

  const start = (digest: string, key: ApiKey): Watch => {
    const watch: Watch = { key, listeners: new Bag(), cancelTimer: () => undefined };
    watches.set(digest, watch);
    checkLater(digest, watch);
    return watch;
  };

  const unsubscribe = signals.subscribe((signal) => {
    for (const [digest, watch] of watches) {
      if (signal.type === 'lost' || signal.keyId === watch.key.keyId) void check(digest, watch);
    }
  });

  return {
    add(digest: string, key: ApiKey, listener: WatchListener) {
      const known = watches.get(digest);
      const watch = known ?? start(digest, key);
      watch.listeners.add(listener);
      // The key was found a while ago, such as before a long body came in. What has changed since nobody has watched, or
      // one of the two is out of date.
      if (known?.key !== key) void check(digest, watch);
      return () => {
        watch.listeners.delete(listener);
        if (watch.listeners.size > 0 || watches.get(digest) !== watch) return;
        watches.delete(digest);
        watch.cancelTimer();
      };
    },
    close() {
      unsubscribe();
      for (const watch of watches.values()) watch.cancelTimer();
      watches.clear();
    },
  };
}

/** When keys were last used: noted in memory, written down now and then, so that no request waits for it. */
function createLastUsed({
  keys,
  telemetry,
  clock,
}: {
  readonly keys: KeyStore;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}) {
  /** By key; milliseconds. */
  const noted = new Map<string, number>();
  let cancelTimer = () => {};
  let writing = Promise.resolve();
  let closed = false;

  const write = async (): Promise<void> => {
    if (noted.size === 0) return;
    const batch = new Map([...noted].map(([keyId, at]) => [keyId, new Date(at)]));
    noted.clear();
    await keys.touch(batch).catch((error: Error) => {
      telemetry.log('debug', 'when keys were last used could not be noted', { error: error.message });
    });
  };
  const writeLater = () => {
    cancelTimer = clock.after(TOUCH_EVERY_MS, () => {
      writing = write().then(() => {
        if (!closed) writeLater();
      });
    });
  };
  writeLater();

  return {
    note: (keyId: string) => void noted.set(keyId, clock.now()),
    async close() {
      closed = true;
      cancelTimer();
      await writing;
      await write();
    },
  };
}
