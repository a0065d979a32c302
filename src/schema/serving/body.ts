import type { IncomingMessage } from 'node:http';
import { readJsonBody, requireJsonBody, UnreadableBody } from '../../http/body.ts';
import { JsonScan } from '../../http/json-bounds.ts';
import { type DocumentLimits, jsonBounds } from './limits.ts';
import { requireNoExcess } from './params.ts';
import { refusal } from './refusal.ts';

/** No other, as a page of a foreign origin can send any other type without asking the browser for leave. */
const JSON_TYPE = /^application\/json[ \t]*(?:;|$)/i;

/** @throws GatewayError `unsupported_media_type`, `body_too_large`, before any of the body is read. */
export function requireJson(req: IncomingMessage, maxBytes: number): void {
  requireJsonBody(req, maxBytes, JSON_TYPE);
}

/** @throws GatewayError `body_too_large`, `client_closed`; GraphQLError `BAD_REQUEST`, `DOCUMENT_TOO_COMPLEX`. */
export function readJson(req: IncomingMessage, maxBytes: number, limits: DocumentLimits): Promise<unknown> {
  const scan = new JsonScan(jsonBounds(limits));
  return readJsonBody(req, maxBytes, scan, (excess) => requireNoExcess(excess, limits)).catch(explain);
}

function explain(error: unknown): never {
  throw error instanceof UnreadableBody ? refusal('BAD_REQUEST', error.message) : error;
}
