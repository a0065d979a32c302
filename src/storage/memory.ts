import { type Clock, LEASE_TTL_MS, type Limiter } from '../core/ports.ts';
import type { Claim, LimitsState } from '../domain/limit.ts';
import {
  type Bounds,
  correct,
  describe,
  IDLE_MS,
  judge,
  NO_LIMIT,
  refill,
  SCALE,
  toBounds,
  toClaimed,
  toDecision,
  toSettled,
} from './bucket.ts';

export interface MemoryLimiter extends Limiter {
  /** Whether the claim was admitted here and still runs. */
  holds(claim: Claim): boolean;
  /** How many keys are remembered. */
  size(): number;
}

/** One key, as in `limiter.lua`. */
interface Account {
  requests: number;
  tokens: number;
  at: number;
  /** Running request -> tokens it holds. */
  readonly held: Map<string, number>;
  /** Running or settled request -> when it is forgotten. Every entry is added with the same life, so the first ends first. */
  readonly expiry: Map<string, number>;
}

/**
 * Limits in the memory of one process, by the same rules as in Redis.
 * @param mode what the states it hands out say of themselves.
 */
export function createMemoryLimiter(clock: Clock, mode: LimitsState['mode'] = 'exact'): MemoryLimiter {
  const accounts = new Map<string, Account>();

  /** The key's account as of now. Moved to the end of the map, so that the idle ones are at its start. */
  const open = (keyId: string, bounds: Bounds): Account => {
    const now = clock.now();
    const account = accounts.get(keyId) ?? createAccount(now);
    accounts.delete(keyId);
    dropIdle(accounts, now);
    accounts.set(keyId, account);
    sweep(account, now);
    account.requests = refill('requests', account.requests, bounds.requests, now - account.at);
    account.tokens = refill('tokens', account.tokens, bounds.tokens, now - account.at);
    account.at = now;
    return account;
  };

  const remember = (account: Account, id: string) => {
    account.expiry.delete(id);
    account.expiry.set(id, clock.now() + LEASE_TTL_MS);
  };

  return {
    async claim({ id, keyId, limits, tokens }) {
      const bounds = toBounds(limits);
      const account = open(keyId, bounds);
      if (account.expiry.has(id)) return toDecision(undefined, state(mode, account, bounds));
      const claimed = toClaimed(tokens);
      const refusal = judge(usageOf(account), bounds, claimed);
      if (!refusal) {
        if (bounds.requests !== NO_LIMIT) account.requests += SCALE;
        if (bounds.tokens !== NO_LIMIT) account.tokens += claimed * SCALE;
        account.held.set(id, bounds.tokens === NO_LIMIT ? 0 : claimed);
        remember(account, id);
      }
      return toDecision(refusal, state(mode, account, bounds));
    },

    async renew(claims) {
      for (const { id, keyId, limits } of claims) {
        const account = open(keyId, toBounds(limits));
        if (account.expiry.has(id) && !account.held.has(id)) continue;
        account.held.set(id, account.held.get(id) ?? 0);
        remember(account, id);
      }
    },

    async settle({ id, keyId, limits }, tokens) {
      const bounds = toBounds(limits);
      const account = open(keyId, bounds);
      if (account.expiry.has(id) && !account.held.has(id)) return;
      account.tokens = correct(account.tokens, bounds.tokens, account.held.get(id) ?? 0, toSettled(tokens));
      account.held.delete(id);
      remember(account, id);
    },

    async peek(keyId, limits) {
      const bounds = toBounds(limits);
      return state(mode, open(keyId, bounds), bounds);
    },

    holds: ({ id, keyId }) => accounts.get(keyId)?.held.has(id) ?? false,
    size: () => accounts.size,
  };
}

function createAccount(at: number): Account {
  return { requests: 0, tokens: 0, at, held: new Map(), expiry: new Map() };
}

/** Looks at the two that have been idle longest: with every call adding one at most, the map cannot grow on idle keys. */
function dropIdle(accounts: Map<string, Account>, now: number): void {
  let looks = 2;
  for (const [keyId, account] of accounts) {
    if (looks-- === 0 || now - account.at < IDLE_MS) return;
    accounts.delete(keyId);
  }
}

function sweep(account: Account, now: number): void {
  for (const [id, expiresAt] of account.expiry) {
    if (expiresAt > now) return;
    account.expiry.delete(id);
    account.held.delete(id);
  }
}

function usageOf({ requests, tokens, held }: Account) {
  return { requests, tokens, active: held.size };
}

function state(mode: LimitsState['mode'], account: Account, bounds: Bounds): LimitsState {
  return describe(mode, usageOf(account), bounds);
}
