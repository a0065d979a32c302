import type { Gateway } from '../core/gateway.ts';
import type { Principal } from '../domain/principal.ts';
import { authorizationOf } from '../http/authorization.ts';
import { pathOf } from '../http/path.ts';
import type { Handler } from './context.ts';

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
  return (req, res, next) => {
    if (PUBLIC_PATHS.includes(pathOf(req.url))) return next();
    const admit = (principal: Principal) => {
      res.locals.principal = principal;
      next();
    };
    const principal = gateway.authenticate(authorizationOf(req));
    // Mostly the key is known, and there is nothing to wait for.
    return principal instanceof Promise ? principal.then(admit) : admit(principal);
  };
}
