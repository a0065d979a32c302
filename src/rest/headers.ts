import { type HeaderLines, headerLines, writeHeadWith } from '../http/head.ts';
import { addLimitHeaders, LIMIT_HEADERS } from '../http/limit-headers.ts';
import type { RestResponse } from './context.ts';

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

/** What every answer has, whatever its end. */
const EVERYWHERE = headerLines([
  'openai-version',
  '2020-10-01',
  'X-Content-Type-Options',
  'nosniff',
  'X-Frame-Options',
  'DENY',
  'Referrer-Policy',
  'no-referrer',
]);

/** Begins an answer, with all the headers that have come together for it. */
export function writeHead(res: RestResponse, status: number, lines: HeaderLines = ''): void {
  const { startedAt, clock, source, headers } = res.locals;
  const processingMs = Math.max(0, Math.round(clock.now() - startedAt));
  const counts = ['openai-processing-ms', String(processingMs)];
  addLimitHeaders(counts, source?.limits);
  writeHeadWith(res, status, headers, EVERYWHERE + lines + headerLines(counts));
  // The answer may go on for half an hour.
  res.locals.headers = [];
}

/** Sentences for people, in one header. What cannot stand in a header becomes `?`. */
export function addWarnings(res: RestResponse, warnings: readonly string[]): void {
  if (warnings.length === 0) return;
  const text = [...new Set(warnings)].join(' ').replace(/[^\x20-\x7e]/g, '?');
  res.locals.headers.push('x-gateway-warnings', text.slice(0, 1000));
}

/** Names only, and only such as can be names: the values stay out of it, and so does anything hostile. */
export function addIgnoredParameters(res: RestResponse, names: readonly string[]): void {
  const sane = names.filter((name) => /^[\w.-]{1,64}$/.test(name)).slice(0, 32);
  if (sane.length > 0) res.locals.headers.push('x-ignored-parameters', sane.join(', '));
}
