import type { LimitState, LimitsState } from '../domain/limit.ts';

/** Every header that `limitHeaders` may write. */
export const LIMIT_HEADERS = [
  'x-ratelimit-limit-requests',
  'x-ratelimit-remaining-requests',
  'x-ratelimit-reset-requests',
  'x-ratelimit-limit-tokens',
  'x-ratelimit-remaining-tokens',
  'x-ratelimit-reset-tokens',
  'x-ratelimit-limit-concurrent',
  'x-ratelimit-remaining-concurrent',
  'x-ratelimit-mode',
] as const;

/** A key's limits as headers; none for a key without limits. */
export function limitHeaders(limits: LimitsState | undefined): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  if (!limits) return headers;
  const set = (name: string, state: LimitState) => {
    headers[`x-ratelimit-limit-${name}`] = String(state.limit);
    headers[`x-ratelimit-remaining-${name}`] = String(Math.max(0, Math.floor(state.remaining)));
  };
  for (const name of ['requests', 'tokens'] as const) {
    const state = limits[name];
    if (!state) continue;
    set(name, state);
    headers[`x-ratelimit-reset-${name}`] = formatDuration(state.resetMs);
  }
  // A slot comes back when a request ends, which nobody can foretell, so there is no reset.
  if (limits.concurrency) set('concurrent', limits.concurrency);
  if (limits.mode === 'degraded') headers['x-ratelimit-mode'] = 'degraded';
  return headers;
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
