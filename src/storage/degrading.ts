import { type Clock, LEASE_TTL_MS, type Limiter } from '../core/ports.ts';
import type { Claim, Decision, Limits } from '../domain/limit.ts';
import type { MemoryLimiter } from './memory.ts';
import type { Watch } from './watch.ts';

export interface DegradingLimiter extends Limiter {
  /** To be called when the shared store is back: settles there what ended while it was away. */
  catchUp(): void;
}

/** Requests remembered for the shared store at most. Beyond them, its leases have to expire. */
const MAX_OWED = 10_000;

/** What the shared store says where it says nothing. */
const AWAY = Symbol('away');

interface Ended {
  readonly claim: Claim;
  /** Really used. */
  readonly tokens: number;
  readonly at: number;
}

/**
 * The limiter that never fails. While the shared one is away, this replica alone counts, against its share of every
 * limit. A claim is counted in one store only, save the one that was under way when the shared store went away: that
 * store may still carry it out, so its settlement goes to both.
 *
 * @param shared may reject, in bounded time.
 * @param local counts in mode `degraded`.
 * @param watchOf looks after the part of the shared store where a key is.
 * @param replicas how many share the limits.
 */
export function createDegradingLimiter(options: {
  readonly shared: Limiter;
  readonly local: MemoryLimiter;
  readonly watchOf: (keyId: string) => Watch;
  readonly replicas: number;
  readonly clock: Clock;
}): DegradingLimiter {
  const { shared, local, watchOf, replicas, clock } = options;
  /** Running requests that the shared store knows of, or may yet hear of. */
  const known = new Set<string>();
  /** Requests that have ended, and that it holds a slot and tokens for, or may yet. */
  const owed = new Map<string, Ended>();

  const ask = <T>(keyId: string, act: () => Promise<T>): Promise<T | typeof AWAY> => {
    const watch = watchOf(keyId);
    if (!watch.isUp()) return Promise.resolve(AWAY);
    return act().catch((error: unknown) => {
      watch.failed(error);
      return AWAY;
    });
  };

  const owe = (claim: Claim, tokens: number, at = clock.now()) => {
    if (owed.size < MAX_OWED) owed.set(claim.id, { claim, tokens, at });
  };

  return {
    claim(claim) {
      const watch = watchOf(claim.keyId);
      if (!watch.isUp()) return local.claim(shareOf(claim, replicas));
      const take = (decision: Decision) => {
        if (decision.admitted) known.add(claim.id);
        return decision;
      };
      return shared.claim(claim).then(take, async (error: unknown) => {
        watch.failed(error);
        const decision = take(await local.claim(shareOf(claim, replicas)));
        if (!decision.admitted) owe(claim, 0);
        return decision;
      });
    },
    async renew(claims) {
      const renewed = Promise.all(claims.map((claim) => ask(claim.keyId, () => shared.renew([claim]))));
      const here = claims.filter((claim) => local.holds(claim));
      await local.renew(here.map((claim) => shareOf(claim, replicas)));
      await renewed;
    },
    settle(claim, tokens) {
      const wasKnown = known.delete(claim.id);
      const here = local.holds(claim) ? local.settle(shareOf(claim, replicas), tokens) : undefined;
      const unsettled = () => {
        if (wasKnown) owe(claim, tokens);
        return here;
      };
      const watch = watchOf(claim.keyId);
      if (!watch.isUp()) return Promise.resolve(unsettled());
      return shared.settle(claim, tokens).then(
        () => here,
        (error: unknown) => {
          watch.failed(error);
          return unsettled();
        },
      );
    },
    async peek(keyId, limits) {
      const exact = await ask(keyId, () => shared.peek(keyId, limits));
      return exact === AWAY ? local.peek(keyId, shareOfLimits(limits, replicas)) : exact;
    },
    catchUp() {
      const ended = [...owed.values()];
      owed.clear();
      for (const { claim, tokens, at } of ended) {
        // Later than that the lease is over, and what the claim held was never given back: the rest is to be paid.
        const isForgotten = clock.now() - at >= LEASE_TTL_MS;
        const due = isForgotten ? Math.max(0, tokens - claim.tokens) : tokens;
        void ask(claim.keyId, () => shared.settle(claim, due)).then((settled) => {
          if (settled === AWAY) owe(claim, tokens, at);
        });
      }
    },
  };
}

/**
 * A claim against one replica's share. A request that fits the key's whole limit takes all of the share at most: that
 * the limit is split for a while must not refuse it for good.
 */
function shareOf(claim: Claim, replicas: number): Claim {
  const whole = claim.limits.tokensPerMinute;
  const limits = shareOfLimits(claim.limits, replicas);
  if (whole === undefined || limits.tokensPerMinute === undefined) return { ...claim, limits };
  const tokens = claim.tokens <= whole ? Math.min(claim.tokens, limits.tokensPerMinute) : claim.tokens;
  return { ...claim, limits, tokens };
}

function shareOfLimits(limits: Limits, replicas: number): Limits {
  const share = (limit: number) => Math.max(1, Math.floor(limit / replicas));
  const { requestsPerMinute, tokensPerMinute, concurrentRequests } = limits;
  return {
    ...(requestsPerMinute !== undefined && { requestsPerMinute: share(requestsPerMinute) }),
    ...(tokensPerMinute !== undefined && { tokensPerMinute: share(tokensPerMinute) }),
    ...(concurrentRequests !== undefined && { concurrentRequests: share(concurrentRequests) }),
  };
}
