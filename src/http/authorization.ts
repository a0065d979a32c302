import type { IncomingMessage } from 'node:http';

const NAME = 'authorization';

/**
 * The `Authorization` of a request. Where it was sent twice both values are in it, which is no key: Node would take the
 * first one, and whatever stands in front of the gateway may have looked at the other.
 */
export function authorizationOf({ rawHeaders }: Pick<IncomingMessage, 'rawHeaders'>): string | undefined {
  let authorization: string | undefined;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.length !== NAME.length || name.toLowerCase() !== NAME) continue;
    const value = rawHeaders[at + 1];
    authorization = authorization === undefined ? value : `${authorization}, ${value}`;
  }
  return authorization;
}
