import { GatewayError } from '../domain/error.ts';
import type { ApiKey, Principal } from '../domain/principal.ts';
import { createKeyCache, FRESH_MS } from './key-cache.ts';
import { digestOf } from './keys.ts';
import type { Clock, KeyStore, Signals, Telemetry } from './ports.ts';

const TOUCH_EVERY_MS = 60_000;

/** The scheme is case-insensitive (RFC 9110, section 11.1); secrets are letters and digits behind the prefix. */
const BEARER = /^Bearer +(llmgw_[A-Za-z0-9]{16,200}) *$/i;

export interface Authenticator {
  /** See `Gateway.authenticate`. */
  authenticate(authorization: string | undefined): Promise<Principal>;
  /**
   * Keeps an eye on a key for as long as something runs under it.
   * @param principal as it came from `authenticate`.
   * @param onInvalid called once, when the key has been revoked or has expired.
   * @returns the function that ends the watch.
   */
  watch(principal: Principal, onInvalid: (error: GatewayError) => void): () => void;
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
  const watches = createWatches(deps, async (digest) => isValid(await cache.find(digest), clock.now()));
  const lastUsed = createLastUsed(deps);

  return {
    async authenticate(authorization) {
      if (authorization === undefined || authorization === '') {
        const message = 'You did not provide an API key. Send it as `Authorization: Bearer llmgw_…`.';
        throw new GatewayError('missing_api_key', message);
      }
      const secret = BEARER.exec(authorization)?.[1];
      if (secret === undefined) throw invalidKey();
      const digest = digestOf(secret);
      const key = await cache.find(digest);
      if (!isValid(key, clock.now())) throw invalidKey();
      found.set(key, { digest, key });
      lastUsed.note(key.keyId);
      return key;
    },
    watch(principal, onInvalid) {
      const origin = found.get(principal);
      if (origin === undefined) throw new Error('only an authenticated principal can be watched');
      return watches.add(origin.digest, origin.key, onInvalid);
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
  readonly keyId: string;
  readonly listeners: Set<(error: GatewayError) => void>;
  cancelTimer: () => void;
}

/** One watch per secret in use, however many requests run under it: by signal, and now and then without one. */
function createWatches(
  { signals, clock }: { readonly signals: Signals; readonly clock: Clock },
  stillValid: (digest: string) => Promise<boolean>,
) {
  const watches = new Map<string, Watch>();

  const check = async (digest: string, watch: Watch): Promise<void> => {
    // With the database away, what was valid is not cut.
    const valid = await stillValid(digest).catch(() => true);
    if (valid || watches.get(digest) !== watch) return;
    watches.delete(digest);
    watch.cancelTimer();
    for (const listener of watch.listeners) listener(invalidKey());
  };
  const checkLater = (digest: string, watch: Watch, expiresAt: Date | undefined) => {
    const left = expiresAt ? Math.max(0, expiresAt.getTime() - clock.now()) : FRESH_MS;
    watch.cancelTimer = clock.after(Math.min(left, FRESH_MS), () => {
      void check(digest, watch).then(() => {
        if (watches.get(digest) === watch) checkLater(digest, watch, expiresAt);
      });
    });
  };

  const start = (digest: string, { keyId, expiresAt }: ApiKey): Watch => {
    const watch: Watch = { keyId, listeners: new Set(), cancelTimer: () => undefined };
    watches.set(digest, watch);
    checkLater(digest, watch, expiresAt);
    return watch;
  };

  const unsubscribe = signals.subscribe((signal) => {
    for (const [digest, watch] of watches) {
      if (signal.type === 'lost' || signal.keyId === watch.keyId) void check(digest, watch);
    }
  });

  return {
    add(digest: string, key: ApiKey, listener: (error: GatewayError) => void) {
      const watch = watches.get(digest) ?? start(digest, key);
      watch.listeners.add(listener);
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
  const noted = new Map<string, Date>();
  let cancelTimer = () => {};

  const write = async (): Promise<void> => {
    if (noted.size === 0) return;
    const batch = new Map(noted);
    noted.clear();
    await keys.touch(batch).catch((error: Error) => {
      telemetry.log('debug', 'when keys were last used could not be noted', { error: error.message });
    });
  };
  const writeLater = () => {
    cancelTimer = clock.after(TOUCH_EVERY_MS, () => {
      void write().finally(writeLater);
    });
  };
  writeLater();

  return {
    note: (keyId: string) => void noted.set(keyId, new Date(clock.now())),
    async close() {
      cancelTimer();
      await write();
    },
  };
}
