import { isUtf8 } from 'node:buffer';
import express from 'express';
import { GatewayError } from '../domain/error.ts';
import { findExcess } from '../http/json-bounds.ts';
import type { Handler, RestConfig } from './context.ts';

/** Reads a JSON body: the checks in order of their cost, each before anything that the next could not bear. */
export function readBody({ maxBodyBytes }: Pick<RestConfig, 'maxBodyBytes'>): Handler[] {
  const parse = express.json({
    limit: maxBodyBytes,
    strict: true,
    inflate: false,
    type: isJson,
    verify: (_req, _res, bytes) => verifyBytes(bytes),
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
    next();
  };

  return [refuseUnread, parse, refuseParsed];
}

/** @throws GatewayError `invalid_request`, before the parser has seen the bytes. */
function verifyBytes(bytes: Buffer): void {
  // Decoding would replace broken bytes silently, and the model would answer a text that nobody wrote.
  if (!isUtf8(bytes)) throw new GatewayError('invalid_request', 'The request body is not valid UTF-8.');
  const excess = findExcess(bytes);
  if (excess !== undefined) throw new GatewayError('invalid_request', `The request body ${excess.sentence}.`);
}

function isJson(req: { readonly headers: { readonly 'content-type'?: string | undefined } }): boolean {
  return /^application\/(?:[\w.-]+\+)?json[ \t]*(?:;|$)/i.test(req.headers['content-type'] ?? '');
}
