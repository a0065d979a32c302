import type { Limiter } from '../core/ports.ts';
import type { Claim, Limits } from '../domain/limit.ts';
import type { MemoryLimiter } from './memory.ts';
import type { Watch } from './watch.ts';

/**
 * The limiter that never fails. While the shared one is away, this replica alone counts, against its share of every
 * limit. A claim is counted in one store only, save the one that was under way when the shared store went away: that
 * store may still carry it out, so its settlement goes to both.
 *
 * @param shared may reject, in bounded time.
 * @param local counts in mode `degraded`.
 * @param replicas how many share the limits.
 */
export function createDegradingLimiter(options: {
  readonly shared: Limiter;
  readonly local: MemoryLimiter;
  readonly watch: Watch;
  readonly replicas: number;
}): Limiter {
  const { shared, local, watch, replicas } = options;

  /** @returns undefined where the shared store is away. */
  const ask = async <T>(act: () => Promise<T>): Promise<T | undefined> => {
    if (!watch.isUp()) return undefined;
    try {
      return await act();
    } catch (error) {
      watch.failed(error);
      return undefined;
    }
  };

  return {
    async claim(claim) {
      return (await ask(() => shared.claim(claim))) ?? local.claim(shareOf(claim, replicas));
    },
    async renew(claims) {
      const renewed = ask(() => shared.renew(claims));
      const here = claims.filter((claim) => local.holds(claim));
      await local.renew(here.map((claim) => shareOf(claim, replicas)));
      await renewed;
    },
    async settle(claim, tokens) {
      const settled = ask(() => shared.settle(claim, tokens));
      if (local.holds(claim)) await local.settle(shareOf(claim, replicas), tokens);
      await settled;
    },
    async peek(keyId, limits) {
      return (
        (await ask(() => shared.peek(keyId, limits))) ?? local.peek(keyId, shareOfLimits(limits, replicas))
      );
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
