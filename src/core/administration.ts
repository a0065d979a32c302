import { GatewayError } from '../domain/error.ts';
import { type ApiKey, type Principal, SCOPES } from '../domain/principal.ts';
import type { UsageRecord } from '../domain/record.ts';
import type { KeyDraft, KeyEdit } from './key-rules.ts';
import type { IssuedKey, Keys } from './keys.ts';
import type { LedgerReader, RecordQuery, UsageBucket, UsageQuery } from './ports.ts';
import { requireScope } from './steps/authorize.ts';

/**
 * What the holder of a key may see and do about keys and usage. Every method first looks at the caller's scopes; what
 * lies outside the caller's reach is answered as if it did not exist.
 */
export interface Administration {
  /** Needs `keys:read`; without it a caller sees its own key and nothing else. @throws GatewayError `not_found`. */
  getKey(principal: Principal, keyId: string): Promise<ApiKey>;
  /** Newest first. Needs `keys:read`. */
  listKeys(principal: Principal, page?: Parameters<Keys['list']>[0]): Promise<readonly ApiKey[]>;
  /**
   * Needs `keys:write`, as the next three. Nobody hands out, or takes over by a new secret, scopes beyond their own.
   * @throws GatewayError `not_permitted`.
   */
  createKey(principal: Principal, draft: KeyDraft): Promise<IssuedKey>;
  updateKey(principal: Principal, keyId: string, edit: KeyEdit): Promise<ApiKey>;
  rotateKey(principal: Principal, keyId: string, options?: Parameters<Keys['rotate']>[1]): Promise<IssuedKey>;
  revokeKey(principal: Principal, keyId: string): Promise<ApiKey>;
  /** Needs `usage:read`, and sees the caller's own key; with `keys:read` as well, every key. */
  usage(principal: Principal, query: UsageQuery): Promise<readonly UsageBucket[]>;
  /** As `usage`. */
  records(principal: Principal, query: RecordQuery): Promise<readonly UsageRecord[]>;
  /** As `usage`. @throws GatewayError `not_found`, also for another key's record. */
  record(principal: Principal, id: string): Promise<UsageRecord>;
}

export function createAdministration(keys: Keys, ledger: LedgerReader): Administration {
  const seesAll = (principal: Principal) => principal.scopes.includes('keys:read');

  /** The keys of a query that the caller may look at: an empty list matches nothing. */
  const within = <Query extends { readonly keyIds?: readonly string[] }>(
    principal: Principal,
    query: Query,
  ): Query => {
    requireScope(principal, 'usage:read');
    if (seesAll(principal)) return query;
    const asked = query.keyIds ?? [principal.keyId];
    return { ...query, keyIds: asked.filter((keyId) => keyId === principal.keyId) };
  };

  return {
    async getKey(principal, keyId) {
      if (keyId !== principal.keyId) requireScope(principal, 'keys:read');
      return await keys.get(keyId);
    },
    async listKeys(principal, page) {
      requireScope(principal, 'keys:read');
      return await keys.list(page);
    },
    async createKey(principal, draft) {
      requireScope(principal, 'keys:write');
      requireScopes(principal, draft.scopes);
      return await keys.create(draft);
    },
    async updateKey(principal, keyId, edit) {
      requireScope(principal, 'keys:write');
      requireScopes(principal, edit.scopes ?? []);
      requireScopes(principal, (await keys.get(keyId)).scopes);
      return await keys.update(keyId, edit);
    },
    async rotateKey(principal, keyId, options) {
      requireScope(principal, 'keys:write');
      requireScopes(principal, (await keys.get(keyId)).scopes);
      return await keys.rotate(keyId, options);
    },
    async revokeKey(principal, keyId) {
      requireScope(principal, 'keys:write');
      return await keys.revoke(keyId);
    },
    usage: async (principal, query) => ledger.buckets(within(principal, query)),
    records: async (principal, query) => ledger.records(within(principal, query)),
    async record(principal, id) {
      requireScope(principal, 'usage:read');
      const record = await ledger.record(id);
      if (record && (seesAll(principal) || record.keyId === principal.keyId)) return record;
      throw new GatewayError('not_found', 'There is no request with this id.');
    },
  };
}

/** Those of the scopes that exist; the others are refused as invalid, by whoever reads them. */
function requireScopes(principal: Principal, scopes: readonly string[]): void {
  for (const scope of SCOPES) if (scopes.includes(scope)) requireScope(principal, scope);
}
