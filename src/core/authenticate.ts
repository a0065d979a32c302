import { LRUCache } from 'lru-cache';
import { GatewayError } from '../domain/error.ts';
import type { ApiKey, Principal } from '../domain/principal.ts';
import { digestOf } from './keys.ts';
import type { Clock, KeyStore, Signals, Telemetry } from './ports.ts';

/** A cached key is believed for this long; half of it has passed when it is looked up again in the background. */
export const FRESH_MS = 30_000;
/** Where the database is away, a key that was valid stays usable for this long after it was last looked up. */
export const STALE_MS = 60 * 60_000;
/** An unknown secret is looked up again after this long, so that a flood of guesses does not reach the database. */
const UNKNOWN_MS = 5_000;
const CACHED_KEYS = 10_000;
const TOUCH_EVERY_MS = 60_000;

/** The scheme is case-insensitive (RFC 9110, section 11.1); secrets are letters and digits behind the prefix. */
const BEARER = /^Bearer +(llmgw_[A-Za-z0-9]{16,200}) *$/i;

export interface Authenticator {
  /** See `Gateway.authenticate`. */
  authenticate(authorization: string | undefined): Promise<Principal>;
  /** Writes down when keys were last used, and stops listening. */
  close(): Promise<void>;
}

interface CachedKey {
  readonly key: ApiKey;
  readonly checkedAt: number;
}

/**
 * Secrets to principals, with a cache in front of the database: with it a request costs a hash and a look-up, and an
 * outage of the database is not noticed by those who hold keys.
 */
export function createAuthenticator(deps: {
  readonly keys: KeyStore;
  readonly signals: Signals;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}): Authenticator {
  const { keys, signals, telemetry, clock } = deps;
  const known = new LRUCache<string, CachedKey>({ max: CACHED_KEYS });
  const unknown = new LRUCache<string, number>({ max: CACHED_KEYS });
  const lookups = new Map<string, Promise<ApiKey | undefined>>();
  const lastUsed = new Map<string, Date>();
  /** Rises with each change of any key: what was read before a change must not be cached after it. */
  let generation = 0;

  const unsubscribe = signals.subscribe((signal) => {
    generation++;
    unknown.clear();
    for (const [digest, cached] of known.entries()) {
      if (signal.type === 'lost')
        known.set(digest, { ...cached, checkedAt: Math.min(cached.checkedAt, clock.now() - FRESH_MS) });
      else if (cached.key.keyId === signal.keyId) known.delete(digest);
    }
  });

  async function read(digest: string): Promise<ApiKey | undefined> {
    const before = generation;
    const key = await keys.findByDigest(digest);
    if (before !== generation) return read(digest);
    if (key) known.set(digest, { key, checkedAt: clock.now() });
    else {
      known.delete(digest);
      unknown.set(digest, clock.now());
    }
    return key;
  }

  /** Requests that come with one secret at once share one look-up. */
  function lookUp(digest: string): Promise<ApiKey | undefined> {
    let lookup = lookups.get(digest);
    if (lookup === undefined) {
      lookup = read(digest).finally(() => lookups.delete(digest));
      lookups.set(digest, lookup);
    }
    return lookup;
  }

  async function find(digest: string): Promise<ApiKey | undefined> {
    const now = clock.now();
    const cached = known.get(digest);
    const age = cached ? now - cached.checkedAt : Number.POSITIVE_INFINITY;
    if (cached && age < FRESH_MS) {
      // Looked up ahead of time, so that a key in use never waits for it.
      if (age > FRESH_MS / 2) lookUp(digest).catch(() => undefined);
      return cached.key;
    }
    if (now - (unknown.get(digest) ?? Number.NEGATIVE_INFINITY) < UNKNOWN_MS) return undefined;
    try {
      return await lookUp(digest);
    } catch (error) {
      if (cached && age < STALE_MS) return cached.key;
      throw error;
    }
  }

  async function writeLastUsed(): Promise<void> {
    if (lastUsed.size === 0) return;
    const batch = new Map(lastUsed);
    lastUsed.clear();
    await keys.touch(batch).catch((error: Error) => {
      telemetry.log('debug', 'when keys were last used could not be noted', { error: error.message });
    });
  }

  let cancelTouch = () => {};
  const touchLater = () => {
    cancelTouch = clock.after(TOUCH_EVERY_MS, () => {
      void writeLastUsed().finally(touchLater);
    });
  };
  touchLater();

  return {
    async authenticate(authorization) {
      if (authorization === undefined || authorization === '') {
        const message = 'You did not provide an API key. Send it as `Authorization: Bearer llmgw_…`.';
        throw new GatewayError('missing_api_key', message);
      }
      const secret = BEARER.exec(authorization)?.[1];
      const key = secret === undefined ? undefined : await find(digestOf(secret));
      const now = clock.now();
      if (key === undefined || key.revokedAt || (key.expiresAt && key.expiresAt.getTime() <= now)) {
        throw new GatewayError('invalid_api_key', 'The API key is not valid.');
      }
      lastUsed.set(key.keyId, new Date(now));
      return key;
    },
    async close() {
      unsubscribe();
      cancelTouch();
      await writeLastUsed();
    },
  };
}
