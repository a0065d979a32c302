import type { Clock } from '../core/ports.ts';
import type { LimitsState } from '../domain/limit.ts';
import { LIMIT_HEADERS, limitHeaders } from '../http/limit-headers.ts';
import type { Handler, RestResponse } from './context.ts';

/** What a browser's JavaScript may read besides the body. */
export const EXPOSED_HEADERS = [
  'x-request-id',
  ...LIMIT_HEADERS,
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
  res.setHeader('x-request-id', res.locals.requestId);
  res.setHeader('openai-version', '2020-10-01');
  res.setHeader('X-Content-Type-Options', 'nosniff');
  res.setHeader('X-Frame-Options', 'DENY');
  res.setHeader('Referrer-Policy', 'no-referrer');
  res.setHeader('Cache-Control', 'no-store');
  next();
};

/** Set last, right before the status goes out. */
export function setProcessingTime(res: RestResponse, clock: Clock): void {
  res.setHeader('openai-processing-ms', String(Math.max(0, Math.round(clock.now() - res.locals.startedAt))));
}

/** The limits as of the decision on this request; nothing for a key without limits. */
export function setLimitHeaders(res: RestResponse, limits: LimitsState | undefined): void {
  for (const [name, value] of limitHeaders(limits)) res.setHeader(name, value);
}

/** Sentences for people, in one header. What cannot stand in a header becomes `?`. */
export function setWarnings(res: RestResponse, warnings: readonly string[]): void {
  if (warnings.length === 0) return;
  const text = [...new Set(warnings)].join(' ').replace(/[^\x20-\x7e]/g, '?');
  res.set('x-gateway-warnings', text.slice(0, 1000));
}

/** Names only, and only such as can be names: the values stay out of it, and so does anything hostile. */
export function setIgnoredParameters(res: RestResponse, names: readonly string[]): void {
  const sane = names.filter((name) => /^[\w.-]{1,64}$/.test(name)).slice(0, 32);
  if (sane.length > 0) res.set('x-ignored-parameters', sane.join(', '));
}
