import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { createIds } from '../domain/id.ts';

/** Printable ASCII without spaces: what can stand in a header and in a log line without harm. */
const SANE_REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/** The request's id: the client's own, from `x-client-request-id`, where that can be shown, or else a new one. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const chosen = headers['x-client-request-id'];
  return typeof chosen === 'string' && SANE_REQUEST_ID.test(chosen) ? chosen : createRequestId();
}

export const createRequestId = createIds('req_', randomBytes);
