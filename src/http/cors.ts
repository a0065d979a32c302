import type { IncomingMessage } from 'node:http';

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';
/** Browsers cap this themselves, at two hours or more. */
const MAX_AGE_S = '7200';
/** A list of header names, and nothing that could end the header it is echoed in. */
const HEADER_LIST = /^[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*$/;
const MAX_HEADER_LIST_LENGTH = 4096;

/** `*`, or the exact origins whose pages may call. */
export type CorsOrigins = '*' | readonly string[];

/**
 * The one place that decides on CORS headers, errors' included, so it is asked before anything that can fail. Credentials
 * are never allowed: keys travel in `Authorization`, which needs none.
 *
 * `OPTIONS` is a preflight, and these are its whole answer, of status 204.
 * @param exposed what a browser's JavaScript may read besides the body. Other clients read what they like.
 */
export function corsHeaders(req: IncomingMessage, origins: CorsOrigins, exposed: string): string[] {
  const headers: string[] = [];
  const { origin } = req.headers;
  if (origins === '*') headers.push('Access-Control-Allow-Origin', '*');
  else {
    headers.push('Vary', 'Origin');
    if (origin !== undefined && origins.includes(origin)) headers.push('Access-Control-Allow-Origin', origin);
  }
  if (origin !== undefined) headers.push('Access-Control-Expose-Headers', exposed);
  if (req.method !== 'OPTIONS') return headers;

  headers.push('Access-Control-Allow-Methods', METHODS, 'Access-Control-Max-Age', MAX_AGE_S);
  // Named one by one, because a wildcard here would not cover Authorization.
  headers.push('Vary', 'Access-Control-Request-Headers');
  const requested = req.headers['access-control-request-headers'] ?? '';
  if (requested.length <= MAX_HEADER_LIST_LENGTH && HEADER_LIST.test(requested)) {
    headers.push('Access-Control-Allow-Headers', requested);
  }
  return headers;
}
