import type { IncomingMessage, ServerResponse } from 'node:http';

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';
/** Browsers cap this themselves, at two hours or more. */
const MAX_AGE_S = '7200';
/** A list of header names, and nothing that could end the header it is echoed in. */
const HEADER_LIST = /^[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*$/;
const MAX_HEADER_LIST_LENGTH = 4096;

/** `*`, or the exact origins whose pages may call. */
export type CorsOrigins = '*' | readonly string[];

/**
 * The one place that writes CORS headers, errors' included, as it runs before anything that can fail. Credentials are
 * never allowed: keys travel in `Authorization`, which needs none.
 *
 * @param exposed what a browser's JavaScript may read besides the body.
 * @returns whether the request was a preflight, and has been answered.
 */
export function answerCors(
  req: IncomingMessage,
  res: ServerResponse,
  origins: CorsOrigins,
  exposed: string,
): boolean {
  if (origins === '*') res.setHeader('Access-Control-Allow-Origin', '*');
  else {
    res.appendHeader('Vary', 'Origin');
    const { origin } = req.headers;
    if (origin !== undefined && origins.includes(origin)) {
      res.setHeader('Access-Control-Allow-Origin', origin);
    }
  }
  res.setHeader('Access-Control-Expose-Headers', exposed);
  if (req.method !== 'OPTIONS') return false;

  res.setHeader('Access-Control-Allow-Methods', METHODS);
  res.setHeader('Access-Control-Max-Age', MAX_AGE_S);
  // Named one by one, because a wildcard here would not cover Authorization.
  res.appendHeader('Vary', 'Access-Control-Request-Headers');
  const requested = req.headers['access-control-request-headers'] ?? '';
  if (requested.length <= MAX_HEADER_LIST_LENGTH && HEADER_LIST.test(requested)) {
    res.setHeader('Access-Control-Allow-Headers', requested);
  }
  res.statusCode = 204;
  res.end();
  return true;
}
