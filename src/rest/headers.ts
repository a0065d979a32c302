import type { Clock } from '../core/ports.ts';
import type { LimitState, LimitsState } from '../domain/limit.ts';
import type { Handler, RestResponse } from './context.ts';

/** What a browser's JavaScript may read besides the body. */
export const EXPOSED_HEADERS = [
  'x-request-id',
  'x-ratelimit-limit-requests',
  'x-ratelimit-remaining-requests',
  'x-ratelimit-reset-requests',
  'x-ratelimit-limit-tokens',
  'x-ratelimit-remaining-tokens',
  'x-ratelimit-reset-tokens',
  'x-ratelimit-limit-concurrent',
  'x-ratelimit-remaining-concurrent',
  'x-ratelimit-mode',
  'x-gateway-warnings',
  'x-ignored-parameters',
  'x-should-retry',
  'retry-after',
  'retry-after-ms',
  'openai-processing-ms',
  'openai-version',
].join(', ');

/** Headers that every answer has, whatever its end. */
export const standardHeaders: Handler = (_req, res, next) => {
  res.set({
    'x-request-id': res.locals.requestId,
    'openai-version': '2020-10-01',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
  });
  next();
};

/** Set last, right before the status goes out. */
export function setProcessingTime(res: RestResponse, clock: Clock): void {
  res.set('openai-processing-ms', String(Math.max(0, Math.round(clock.now() - res.locals.startedAt))));
}

/** The limits as of the decision on this request; nothing for a key without limits. */
export function setLimitHeaders(res: RestResponse, limits: LimitsState | undefined): void {
  if (!limits) return;
  const { requests, tokens, concurrency } = limits;
  const set = (name: string, state: LimitState) => {
    res.set(`x-ratelimit-limit-${name}`, String(state.limit));
    res.set(`x-ratelimit-remaining-${name}`, String(Math.max(0, Math.floor(state.remaining))));
  };
  for (const [name, state] of [
    ['requests', requests],
    ['tokens', tokens],
  ] as const) {
    if (!state) continue;
    set(name, state);
    res.set(`x-ratelimit-reset-${name}`, formatDuration(state.resetMs));
  }
  // A slot comes back when a request ends, which nobody can foretell, so there is no reset.
  if (concurrency) set('concurrent', concurrency);
  if (limits.mode === 'degraded') res.set('x-ratelimit-mode', 'degraded');
}

/** Sentences for people, in one header. What cannot stand in a header becomes `?`. */
export function setWarnings(res: RestResponse, warnings: readonly string[]): void {
  if (warnings.length === 0) return;
  const text = warnings.join(' ').replace(/[^\x20-\x7e]/g, '?');
  res.set('x-gateway-warnings', text.slice(0, 1000));
}

/** Names only, and only such as can be names: the values stay out of it, and so does anything hostile. */
export function setIgnoredParameters(res: RestResponse, names: readonly string[]): void {
  const sane = names.filter((name) => /^[\w.-]{1,64}$/.test(name)).slice(0, 32);
  if (sane.length > 0) res.set('x-ignored-parameters', sane.join(', '));
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
