import type { LimitState, LimitsState } from '../domain/limit.ts';

const REQUESTS = {
  limit: 'x-ratelimit-limit-requests',
  remaining: 'x-ratelimit-remaining-requests',
  reset: 'x-ratelimit-reset-requests',
} as const;
const TOKENS = {
  limit: 'x-ratelimit-limit-tokens',
  remaining: 'x-ratelimit-remaining-tokens',
  reset: 'x-ratelimit-reset-tokens',
} as const;
/** A slot comes back when a request ends, which nobody can foretell, so there is no reset. */
const CONCURRENT = {
  limit: 'x-ratelimit-limit-concurrent',
  remaining: 'x-ratelimit-remaining-concurrent',
} as const;
const MODE = 'x-ratelimit-mode';

/** Every header that `limitHeaders` may name. */
export const LIMIT_HEADERS: readonly string[] = [
  ...Object.values(REQUESTS),
  ...Object.values(TOKENS),
  ...Object.values(CONCURRENT),
  MODE,
];

/** Adds a key's limits to headers; none for a key without limits. */
export function addLimitHeaders(headers: string[], limits: LimitsState | undefined): void {
  if (!limits) return;
  const add = (names: typeof REQUESTS | typeof TOKENS | typeof CONCURRENT, state: LimitState | undefined) => {
    if (!state) return;
    headers.push(names.limit, String(state.limit));
    headers.push(names.remaining, String(Math.max(0, Math.floor(state.remaining))));
    if ('reset' in names) headers.push(names.reset, formatDuration(state.resetMs));
  };
  add(REQUESTS, limits.requests);
  add(TOKENS, limits.tokens);
  add(CONCURRENT, limits.concurrency);
  if (limits.mode === 'degraded') headers.push(MODE, 'degraded');
}

/** A duration as Go prints it, which is what `x-ratelimit-reset-*` holds: `12ms`, `8.64s`, `6m0s`, `1h2m3s`. */
export function formatDuration(ms: number): string {
  const whole = Math.max(0, Math.ceil(ms));
  if (whole > 0 && whole < 1000) return `${whole}ms`;
  const hours = Math.floor(whole / 3_600_000);
  const minutes = Math.floor((whole % 3_600_000) / 60_000);
  const seconds = `${(whole % 60_000) / 1000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
