import { LRUCache } from 'lru-cache';
import type { ApiKey } from '../domain/principal.ts';
import type { Clock, KeyStore, Signals } from './ports.ts';

/** A cached key is believed for this long; half of it has passed when it is looked up again in the background. */
export const FRESH_MS = 30_000;
/** Where the database is away, a key that was valid stays usable for this long after it was last looked up. */
export const STALE_MS = 60 * 60_000;
/** An unknown secret is looked up again after this long, so that who repeats a wrong one does not reach the database. */
const UNKNOWN_MS = 5_000;
const CACHED_KEYS = 10_000;

export interface KeyCache {
  /**
   * The key of a secret, valid or not, as it was when it was looked up: at once where it is cached.
   * @param digest SHA-256 of the secret, in hex.
   * @throws GatewayError `storage_unavailable` where the database is away and nothing usable is cached.
   */
  find(digest: string): CachedKey | undefined | Promise<CachedKey | undefined>;
  /** Stops listening. */
  close(): void;
}

export interface CachedKey {
  readonly key: ApiKey;
  /** More than `FRESH_MS` ago where the database is away. */
  readonly checkedAt: number;
}

/**
 * What stands between requests and the key table: with it a request costs a look-up in memory, and an outage of the
 * database is not noticed by those who hold keys. Changes arrive as signals; without any, an entry's age bounds how
 * long a change can go unseen.
 */
export function createKeyCache(deps: {
  readonly keys: KeyStore;
  readonly signals: Signals;
  readonly clock: Clock;
}): KeyCache {
  const { keys, signals, clock } = deps;
  const known = new LRUCache<string, CachedKey>({ max: CACHED_KEYS });
  const unknown = new LRUCache<string, number>({ max: CACHED_KEYS });
  const lookups = new Map<string, Promise<CachedKey | undefined>>();
  /** What has changed since each look-up under way began: what was read before a change must not be cached after it. */
  const underWay = new Set<{ readonly changed: Set<string>; lost: boolean }>();

  const close = signals.subscribe((signal) => {
    for (const since of underWay) {
      if (signal.type === 'lost') since.lost = true;
      else since.changed.add(signal.keyId);
    }
    unknown.clear();
    const longAgo = clock.now() - FRESH_MS;
    // A copy, as a cache that is written to while it is walked never ends; oldest first, so that their order stays.
    for (const [digest, cached] of [...known.entries()].reverse()) {
      if (signal.type === 'lost') {
        known.set(digest, { ...cached, checkedAt: Math.min(cached.checkedAt, longAgo) });
      } else if (cached.key.keyId === signal.keyId) known.delete(digest);
    }
  });

  async function read(digest: string): Promise<CachedKey | undefined> {
    const since = { changed: new Set<string>(), lost: false };
    let key: ApiKey | undefined;
    underWay.add(since);
    try {
      key = await keys.findByDigest(digest);
    } finally {
      underWay.delete(since);
    }
    if (since.lost || (key && since.changed.has(key.keyId))) return read(digest);
    if (key) {
      const cached = { key, checkedAt: clock.now() };
      known.set(digest, cached);
      return cached;
    }
    known.delete(digest);
    // It may belong to one of the keys that have changed.
    if (since.changed.size === 0) unknown.set(digest, clock.now());
    return undefined;
  }

  /** Requests that come with one secret at once share one look-up. */
  function lookUp(digest: string): Promise<CachedKey | undefined> {
    let lookup = lookups.get(digest);
    if (lookup === undefined) {
      lookup = read(digest).finally(() => lookups.delete(digest));
      lookups.set(digest, lookup);
    }
    return lookup;
  }

  return {
    find(digest) {
      const now = clock.now();
      const cached = known.get(digest);
      const age = cached ? now - cached.checkedAt : Number.POSITIVE_INFINITY;
      if (cached && age < FRESH_MS) {
        // Looked up ahead of time, so that a key in use never waits for it.
        if (age > FRESH_MS / 2) lookUp(digest).catch(() => undefined);
        return cached;
      }
      if (now - (unknown.get(digest) ?? Number.NEGATIVE_INFINITY) < UNKNOWN_MS) return undefined;
      return lookUp(digest).catch((error: unknown) => {
        if (cached && age < STALE_MS) return cached;
        throw error;
      });
    },
    close,
  };
}
