import { hash, randomBytes } from 'node:crypto';
import { GatewayError } from '../domain/error.ts';
import { createId } from '../domain/id.ts';
import { type ApiKey, SCOPES } from '../domain/principal.ts';
import { DEMO_KEYS } from './demo-keys.ts';
import {
  invalid,
  isCleanText,
  type KeyDraft,
  type KeyEdit,
  parseKeyDraft,
  parseKeyEdit,
  wholeNumber,
} from './key-rules.ts';
import type { Clock, KeyFilter, KeyStore, Signals } from './ports.ts';

/** Management of API keys. Who may manage them is the protocols' question to ask first (`keys:read`, `keys:write`). */
export interface Keys {
  /** @throws GatewayError `invalid_request`, naming the field. */
  create(draft: KeyDraft): Promise<IssuedKey>;
  /** @throws GatewayError `not_found`, as every method that takes a key's id. */
  get(keyId: string): Promise<ApiKey>;
  /**
   * Newest first.
   * @param page `limit` is 1 to 200, 50 by default; `after` is the id of the last key of the page before.
   */
  list(page?: KeyFilter & { readonly limit?: number; readonly after?: string }): Promise<readonly ApiKey[]>;
  /** @throws GatewayError `invalid_request`, also for a revoked key. */
  update(keyId: string, edit: KeyEdit): Promise<ApiKey>;
  /**
   * Gives a key another secret. The earlier ones stay valid for `graceSeconds` (0 by default, at most 30 days).
   * @throws GatewayError `invalid_request`, also for a revoked key.
   */
  rotate(keyId: string, options?: { readonly graceSeconds?: number }): Promise<IssuedKey>;
  /** For good. Idempotent. */
  revoke(keyId: string): Promise<ApiKey>;
  /**
   * Creates those of `DEMO_KEYS` whose secrets are not there yet. One that was revoked or rotated away is there.
   * @returns the keys it created.
   */
  seedDemoKeys(): Promise<readonly ApiKey[]>;
  /**
   * Creates a key with every scope and without limits for a secret that an operator chose, unless it is there yet.
   * @returns whether it did.
   * @throws GatewayError `invalid_request` for a secret that is too easy to guess.
   */
  bootstrapAdminKey(secret: string): Promise<boolean>;
}

/** A key together with its secret, which exists only here: the store has no more than its digest. */
export interface IssuedKey {
  readonly key: ApiKey;
  readonly secret: string;
}

const SECRET_BYTES = 32;
const PREFIX_LENGTH = 12;
const MAX_GRACE_SECONDS = 30 * 86_400;
const MAX_PAGE = 200;

/** What a chosen secret has to look like. Authentication accepts nothing longer. */
const CHOSEN_SECRET = /^llmgw_[A-Za-z0-9]{32,200}$/;

/** SHA-256 in lower-case hex. Secrets are random and long, so the digest needs neither salt nor slowness. */
export function digestOf(secret: string): string {
  return hash('sha256', secret);
}

interface KeysDeps {
  readonly store: KeyStore;
  readonly signals: Signals;
  readonly clock: Clock;
}

export function createKeys(deps: KeysDeps): Keys {
  const { store, signals, clock } = deps;

  async function get(keyId: string): Promise<ApiKey> {
    return found(isKeyId(keyId) ? await store.get(keyId) : undefined);
  }

  async function getLive(keyId: string): Promise<ApiKey> {
    const key = await get(keyId);
    if (key.revokedAt) throw invalid('This key is revoked, and a revoked key cannot change.');
    return key;
  }

  function changed(key: ApiKey | undefined): ApiKey {
    const whole = found(key);
    signals.publish({ type: 'keyChanged', keyId: whole.keyId });
    return whole;
  }

  return {
    ...createIssue(deps),
    get,
    async list({ limit = 50, after, ...filter } = {}) {
      wholeNumber(limit, 1, MAX_PAGE, 'limit');
      if (after !== undefined && !isKeyId(after)) throw invalid('after must be the id of a key.', 'after');
      // No key can have such a name, and not every store can be asked for it.
      if (filter.name !== undefined && !isCleanText(filter.name)) return [];
      return store.list({ limit, ...(after !== undefined && { after }), ...filter });
    },
    async update(keyId, edit) {
      const change = parseKeyEdit(edit, clock.now());
      await getLive(keyId);
      return changed(await store.update(keyId, change));
    },
    async rotate(keyId, { graceSeconds = 0 } = {}) {
      wholeNumber(graceSeconds, 0, MAX_GRACE_SECONDS, 'graceSeconds');
      await getLive(keyId);
      const secret = createSecret();
      const stored = { digest: digestOf(secret), prefix: prefixOf(secret) };
      const graceUntil = new Date(clock.now() + graceSeconds * 1000);
      return { key: changed(await store.rotate(keyId, stored, graceUntil)), secret };
    },
    async revoke(keyId) {
      await get(keyId);
      return changed(await store.revoke(keyId, new Date(clock.now())));
    },
  };
}

/** The ways in which keys come to be. */
function createIssue({
  store,
  signals,
  clock,
}: KeysDeps): Pick<Keys, 'create' | 'seedDemoKeys' | 'bootstrapAdminKey'> {
  /** @returns undefined where some key has this secret already. */
  async function insert(
    terms: Omit<ApiKey, 'keyId' | 'prefix' | 'createdAt'>,
    secret: string,
  ): Promise<ApiKey | undefined> {
    const keyId = createId('key_', randomBytes);
    const key = { ...terms, keyId, prefix: prefixOf(secret), createdAt: new Date(clock.now()) };
    if (!(await store.create(key, digestOf(secret)))) return undefined;
    // Also for a new key: some replica may remember that its secret was unknown.
    signals.publish({ type: 'keyChanged', keyId });
    return key;
  }

  return {
    async create(draft) {
      const secret = createSecret();
      const key = await insert(parseKeyDraft(draft, clock.now()), secret);
      if (!key) throw new GatewayError('internal', 'The gateway failed to create a key.');
      return { key, secret };
    },
    async seedDemoKeys() {
      const created: ApiKey[] = [];
      for (const { secret, ...terms } of DEMO_KEYS) {
        const key = await insert({ ...terms, metadata: { demo: 'true' } }, secret);
        if (key) created.push(key);
      }
      return created;
    },
    async bootstrapAdminKey(secret) {
      if (!CHOSEN_SECRET.test(secret)) {
        throw invalid('An admin key must be llmgw_ and 32 to 200 letters and digits.');
      }
      const admin = { name: 'Bootstrap admin', scopes: SCOPES, models: [], limits: {}, metadata: {} };
      return (await insert(admin, secret)) !== undefined;
    },
  };
}

function createSecret(): string {
  return `llmgw_${randomBytes(SECRET_BYTES).toString('hex')}`;
}

function prefixOf(secret: string): string {
  return secret.slice(0, PREFIX_LENGTH);
}

/** Whatever does not look like an id names no key, and need not be looked for. */
function isKeyId(text: string): boolean {
  return /^[\w-]{1,64}$/.test(text);
}

function found(key: ApiKey | undefined): ApiKey {
  if (!key) throw new GatewayError('not_found', 'There is no key with this id.');
  return key;
}
