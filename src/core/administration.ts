import { GatewayError } from '../domain/error.ts';
import { coversModels } from '../domain/model.ts';
import { type ApiKey, type Principal, SCOPES } from '../domain/principal.ts';
import type { UsageRecord } from '../domain/record.ts';
import type { KeyDraft, KeyEdit } from './key-rules.ts';
import type { IssuedKey, Keys } from './keys.ts';
import type { LedgerReader, RecordFilter, RecordQuery, UsageBucket, UsageQuery } from './ports.ts';
import type { Abortable } from './signal.ts';
import { requireScope } from './steps/authorize.ts';
import { checkRecordQuery, checkUsageQuery } from './usage-rules.ts';

/**
 * What the holder of a key may see and do about keys and usage. Every method first looks at the caller's scopes and
 * rejects with GatewayError `not_permitted` where one is missing. What a caller's scopes leave out of sight is answered
 * as if it did not exist.
 */
export interface Administration {
  /** Needs `keys:read`, except for the caller's own key. @throws GatewayError `not_found`. */
  getKey(principal: Principal, keyId: string): Promise<ApiKey>;
  /** Newest first. Needs `keys:read`. */
  listKeys(principal: Principal, page?: Parameters<Keys['list']>[0]): Promise<readonly ApiKey[]>;
  /**
   * Needs `keys:write`, as the next three. Nobody hands out, or takes over by a new secret, scopes or models beyond
   * their own. Limits and expiry are the administrator's to set, whatever their own.
   * @throws GatewayError `not_permitted`.
   */
  createKey(principal: Principal, draft: KeyDraft): Promise<IssuedKey>;
  updateKey(principal: Principal, keyId: string, edit: KeyEdit): Promise<ApiKey>;
  rotateKey(principal: Principal, keyId: string, options?: Parameters<Keys['rotate']>[1]): Promise<IssuedKey>;
  /** Any key, stronger ones included: a leak has to be stopped by whoever sees it first. */
  revokeKey(principal: Principal, keyId: string): Promise<ApiKey>;
  /**
   * Needs `usage:read`, and sees the caller's own key; with `keys:read` as well, every key.
   * @param query at most 366 days and 200 keys.
   * @param signal aborted when nobody waits for the answer any more.
   * @throws GatewayError `invalid_request`, naming the field; also where the answer would be too large.
   */
  usage(principal: Principal, query: UsageQuery, signal: Abortable): Promise<readonly UsageBucket[]>;
  /**
   * As `usage`.
   * @param query any time from 1970 on; `limit` is 1 to 500.
   */
  records(principal: Principal, query: RecordQuery): Promise<readonly UsageRecord[]>;
  /** As `usage`. @throws GatewayError `not_found`, also for another key's record. */
  record(principal: Principal, id: string): Promise<UsageRecord>;
}

export function createAdministration(keys: Keys, ledger: LedgerReader): Administration {
  const seesAll = (principal: Principal) => principal.scopes.includes('keys:read');

  /** A query narrowed to the keys that the caller may look at: an empty list matches nothing. */
  const within = <Query extends RecordFilter>(principal: Principal, query: Query): Query => {
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
      requireReach(principal, draft.scopes, draft.models ?? []);
      return await keys.create(draft);
    },
    async updateKey(principal, keyId, edit) {
      requireScope(principal, 'keys:write');
      const key = await keys.get(keyId);
      requireReach(principal, key.scopes, key.models);
      requireReach(principal, edit.scopes ?? [], edit.models ?? key.models);
      return await keys.update(keyId, edit);
    },
    async rotateKey(principal, keyId, options) {
      requireScope(principal, 'keys:write');
      const key = await keys.get(keyId);
      requireReach(principal, key.scopes, key.models);
      return await keys.rotate(keyId, options);
    },
    async revokeKey(principal, keyId) {
      requireScope(principal, 'keys:write');
      return await keys.revoke(keyId);
    },
    async usage(principal, query, signal) {
      requireScope(principal, 'usage:read');
      checkUsageQuery(query);
      return await ledger.buckets(within(principal, query), { keyId: principal.keyId, signal });
    },
    async records(principal, query) {
      requireScope(principal, 'usage:read');
      checkRecordQuery(query);
      return await ledger.records(within(principal, query));
    },
    async record(principal, id) {
      requireScope(principal, 'usage:read');
      const record = await ledger.record(id);
      if (record && (seesAll(principal) || record.keyId === principal.keyId)) return record;
      throw new GatewayError('not_found', 'There is no request with this id.');
    },
  };
}

/** What does not exist among the scopes and models is refused as invalid, by whoever reads it. */
function requireReach(principal: Principal, scopes: readonly string[], models: readonly string[]): void {
  for (const scope of SCOPES) if (scopes.includes(scope)) requireScope(principal, scope);
  if (coversModels(principal.models, models)) return;
  throw new GatewayError('not_permitted', 'This API key may not use all of the models that it would give.', {
    param: 'models',
  });
}
