import type { Decision, LimitName, LimitState, Limits, LimitsState } from '../domain/limit.ts';

/**
 * The arithmetic of limits, in whole numbers. A bucket is kept as what has been taken from it and has not come back
 * yet, so that an untouched key needs no memory and a limit that is raised or lowered counts from the next claim on.
 *
 * Amounts are scaled by 60,000: what comes back in one millisecond is then the limit itself.
 */
export const SCALE = 60_000;

/**
 * The most that can be out of a bucket, in capacities, which is as many minutes. Of requests no more than one can be,
 * unless the limit is lowered. A settlement may take any number of tokens, which leaves a debt: it is borne in full, and
 * bounded only so that one absurd number cannot lock a key for longer than an hour.
 */
export const DEEPEST = { requests: 2, tokens: 60 } as const;

/** After this long without a claim every bucket is full. */
export const IDLE_MS = DEEPEST.tokens * SCALE;

/** Limits and tokens are cut to this, so that no product of theirs leaves the range of exact integers. */
export const MOST = 2_000_000_000;

/** What is said where nobody knows: a running request ends when it ends. */
export const CONCURRENCY_RETRY_MS = 1000;

/** What is out of a key's buckets, scaled, and how many of its requests are running. */
export interface Usage {
  readonly requests: number;
  readonly tokens: number;
  readonly active: number;
}

/** Limits as the arithmetic takes them: whole, bounded, and -1 where there is none. */
export interface Bounds {
  readonly requests: number;
  readonly tokens: number;
  readonly concurrency: number;
}

export const NO_LIMIT = -1;

export function toBounds(limits: Limits): Bounds {
  return {
    requests: toBound(limits.requestsPerMinute),
    tokens: toBound(limits.tokensPerMinute),
    concurrency: toBound(limits.concurrentRequests),
  };
}

/** What is no positive number allows nothing. */
function toBound(limit: number | undefined): number {
  if (limit === undefined) return NO_LIMIT;
  return limit > 0 ? Math.min(Math.floor(limit), MOST) : 0;
}

/** Tokens to hold. What is not a number asks for more than any limit has; less than nothing is nothing. */
export function toClaimed(tokens: number): number {
  return Number.isNaN(tokens) ? MOST : Math.ceil(Math.min(Math.max(tokens, 0), MOST));
}

export const UNKNOWN = -1;

/** Tokens that were really used, or `UNKNOWN` where the number is no count: then what was held stands. */
export function toSettled(tokens: number): number {
  return tokens >= 0 ? Math.ceil(Math.min(tokens, MOST)) : UNKNOWN;
}

/** What is still out of a bucket after some time. */
export function refill(of: keyof typeof DEEPEST, used: number, bound: number, elapsedMs: number): number {
  if (bound === NO_LIMIT) return 0;
  const elapsed = Math.min(Math.max(elapsedMs, 0), IDLE_MS);
  return Math.max(0, Math.min(used, DEEPEST[of] * bound * SCALE) - elapsed * bound);
}

/** The held tokens given back and the real ones taken: never above full. `refill` bounds the debt. */
export function correct(used: number, bound: number, held: number, real: number): number {
  if (bound === NO_LIMIT) return 0;
  const spent = real === UNKNOWN ? held : real;
  return Math.max(0, used + (spent - held) * SCALE);
}

/** Why a claim cannot pass: the limit that keeps it longest. */
export interface Refusal {
  readonly by: LimitName;
  /** `NEVER` where the claim is larger than the limit. */
  readonly waitMs: number;
}

const NEVER = Number.POSITIVE_INFINITY;

export function judge(usage: Usage, bounds: Bounds, tokens: number): Refusal | undefined {
  const full = bounds.concurrency !== NO_LIMIT && usage.active >= bounds.concurrency;
  const waits: readonly Refusal[] = [
    { by: 'requests', waitMs: waitFor(usage.requests, SCALE, bounds.requests) },
    { by: 'tokens', waitMs: waitFor(usage.tokens, tokens * SCALE, bounds.tokens) },
    { by: 'concurrency', waitMs: full ? (bounds.concurrency === 0 ? NEVER : CONCURRENCY_RETRY_MS) : 0 },
  ];
  const longest = waits.reduce((a, b) => (b.waitMs > a.waitMs ? b : a));
  return longest.waitMs > 0 ? longest : undefined;
}

function waitFor(used: number, cost: number, bound: number): number {
  const capacity = bound * SCALE;
  if (bound === NO_LIMIT || used + cost <= capacity) return 0;
  return cost > capacity ? NEVER : Math.ceil((used + cost - capacity) / bound);
}

export function toDecision(refusal: Refusal | undefined, state: LimitsState): Decision {
  if (!refusal) return { admitted: true, state };
  const retryAfterMs = refusal.waitMs === NEVER ? undefined : refusal.waitMs;
  return { admitted: false, state, refusedBy: refusal.by, retryAfterMs };
}

export function describe(mode: LimitsState['mode'], usage: Usage, bounds: Bounds): LimitsState {
  const { requests, tokens, concurrency } = bounds;
  return {
    mode,
    ...(requests !== NO_LIMIT && { requests: describeBucket(usage.requests, requests) }),
    ...(tokens !== NO_LIMIT && { tokens: describeBucket(usage.tokens, tokens) }),
    ...(concurrency !== NO_LIMIT && {
      concurrency: {
        limit: concurrency,
        remaining: Math.max(0, concurrency - usage.active),
        resetMs: usage.active > 0 ? CONCURRENCY_RETRY_MS : 0,
      },
    }),
  };
}

function describeBucket(used: number, limit: number): LimitState {
  const remaining = Math.max(0, Math.floor(limit - used / SCALE));
  return { limit, remaining, resetMs: used === 0 ? 0 : Math.ceil(used / Math.max(limit, 1)) };
}
