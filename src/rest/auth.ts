import type { Gateway } from '../core/gateway.ts';
import { authorizationOf } from '../http/authorization.ts';
import { type Handler, pathOf } from './context.ts';

/** Everything needs a key, except these exact paths. */
export const PUBLIC_PATHS: readonly string[] = [
  '/',
  '/health',
  '/ready',
  '/metrics',
  '/openapi.json',
  '/docs',
  // In production nothing is there.
  '/cors-test',
];

/**
 * Authenticates whatever is not public, unknown paths included. `Authorization` is the only carrier; where it was sent
 * twice the core sees both values joined, which is no key.
 */
export function requirePrincipal(gateway: Pick<Gateway, 'authenticate'>): Handler {
  return async (req, res, next) => {
    if (!PUBLIC_PATHS.includes(pathOf(req))) {
      res.locals.principal = await gateway.authenticate(authorizationOf(req));
    }
    next();
  };
}
