import type { Handler, RestConfig } from './context.ts';
import { EXPOSED_HEADERS } from './headers.ts';

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';
/** Browsers cap this themselves, at two hours or more. */
const MAX_AGE_S = '7200';
/** A list of header names, and nothing that could end the header it is echoed in. */
const HEADER_LIST = /^[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*$/;
const MAX_HEADER_LIST_LENGTH = 4096;

/**
 * The one place that writes CORS headers, errors' included, as it runs before anything that can fail. Credentials are
 * never allowed: keys travel in `Authorization`, which needs none.
 */
export function cors(origins: RestConfig['corsOrigins']): Handler {
  return (req, res, next) => {
    if (origins === '*') res.set('Access-Control-Allow-Origin', '*');
    else {
      res.vary('Origin');
      const origin = req.get('origin');
      if (origin !== undefined && origins.includes(origin)) res.set('Access-Control-Allow-Origin', origin);
    }
    res.set('Access-Control-Expose-Headers', EXPOSED_HEADERS);
    if (req.method !== 'OPTIONS') return next();

    res.set('Access-Control-Allow-Methods', METHODS);
    res.set('Access-Control-Max-Age', MAX_AGE_S);
    // Named one by one, because a wildcard here would not cover Authorization.
    res.vary('Access-Control-Request-Headers');
    const requested = req.get('access-control-request-headers') ?? '';
    if (requested.length <= MAX_HEADER_LIST_LENGTH && HEADER_LIST.test(requested)) {
      res.set('Access-Control-Allow-Headers', requested);
    }
    res.status(204).end();
  };
}
