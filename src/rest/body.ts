import { GatewayError } from '../domain/error.ts';
import { readJsonBody, requireJsonBody, UnreadableBody } from '../http/body.ts';
import { type Excess, JsonScan } from '../http/json-bounds.ts';
import type { Handler, RestConfig } from './context.ts';

const JSON_TYPE = /^application\/(?:[\w.-]+\+)?json[ \t]*(?:;|$)/i;

/** Reads a JSON object into `req.body`. */
export function readBody({ maxBodyBytes }: Pick<RestConfig, 'maxBodyBytes'>): Handler {
  return async (req, _res, next) => {
    requireJsonBody(req, maxBodyBytes, JSON_TYPE);
    const body = await readJsonBody(req, maxBodyBytes, new JsonScan(), requireNoExcess).catch(explain);
    if (typeof body !== 'object' || body === null || Array.isArray(body)) {
      throw new GatewayError('invalid_request', 'The request body must be a JSON object.');
    }
    req.body = body;
    next();
  };
}

function requireNoExcess(excess: Excess | undefined): void {
  if (excess) throw new GatewayError('invalid_request', `The request body ${excess.sentence}.`);
}

function explain(error: unknown): never {
  throw error instanceof UnreadableBody ? new GatewayError('invalid_request', error.message) : error;
}
