import { isUtf8 } from 'node:buffer';
import express from 'express';
import { GatewayError } from '../domain/error.ts';
import { findExcess, MAX_JSON_VALUES } from '../http/nesting.ts';
import type { Handler, RestConfig } from './context.ts';

/** No request of the API nests deeper; a JSON Schema that does is not for a model to fill in. */
const MAX_DEPTH = 100;

/** Reads a JSON body: the checks in order of their cost, each before anything that the next could not bear. */
export function readBody({ maxBodyBytes }: Pick<RestConfig, 'maxBodyBytes'>): Handler[] {
  const parse = express.json({
    limit: maxBodyBytes,
    strict: true,
    inflate: false,
    type: isJson,
    // Decoding would replace broken bytes silently, and the model would answer a text that nobody wrote.
    verify: (_req, _res, bytes) => {
      if (!isUtf8(bytes)) throw new Error('not UTF-8');
    },
  });

  const refuseUnread: Handler = (req, _res, next) => {
    if (!isJson(req)) {
      throw new GatewayError(
        'unsupported_media_type',
        'Send the request body as `Content-Type: application/json`.',
      );
    }
    // The parser would answer only after it has thrown away the whole body.
    if (Number(req.headers['content-length'] ?? 0) > maxBodyBytes) {
      throw new GatewayError('body_too_large', `The request body is larger than ${maxBodyBytes} bytes.`);
    }
    next();
  };

  const refuseParsed: Handler = (req, _res, next) => {
    if (typeof req.body !== 'object' || req.body === null || Array.isArray(req.body)) {
      throw new GatewayError('invalid_request', 'The request body must be a JSON object.');
    }
    const excess = findExcess(req.body, MAX_DEPTH);
    if (excess === undefined) return next();
    const what =
      excess === 'depth'
        ? `is nested deeper than ${MAX_DEPTH} levels`
        : `has more than ${MAX_JSON_VALUES} values`;
    throw new GatewayError('invalid_request', `The request body ${what}.`);
  };

  return [refuseUnread, parse, refuseParsed];
}

function isJson(req: { readonly headers: { readonly 'content-type'?: string | undefined } }): boolean {
  return /^application\/(?:[\w.-]+\+)?json[ \t]*(?:;|$)/i.test(req.headers['content-type'] ?? '');
}
