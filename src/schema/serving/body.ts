import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { clientClosed } from '../../core/stream.ts';
import { GatewayError } from '../../domain/error.ts';
import { JsonScan } from '../../http/json-bounds.ts';
import { type DocumentLimits, jsonBounds } from './limits.ts';
import { parseJson, requireNoExcess } from './params.ts';
import { refusal } from './refusal.ts';

/**
 * What a request's head says about its body, judged before any of it is read. Only `application/json`: a page of a
 * foreign origin can send any other type without asking the browser for leave.
 * @throws GatewayError `unsupported_media_type`, `body_too_large`.
 */
export function requireJsonBody({ headers }: IncomingMessage, maxBytes: number): void {
  const type = headers['content-type'] ?? '';
  const charset = /;\s*charset="?([^";\s]*)/i.exec(type)?.[1];
  if (!/^application\/json[ \t]*(?:;|$)/i.test(type) || (charset && !/^utf-?8$/i.test(charset))) {
    throw new GatewayError('unsupported_media_type', 'Send the request as `Content-Type: application/json`.');
  }
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') {
    throw new GatewayError('unsupported_media_type', 'Compressed request bodies are not supported.');
  }
  if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
}

/** @throws GatewayError `body_too_large`, `client_closed`; GraphQLError `BAD_REQUEST`, `DOCUMENT_TOO_COMPLEX`. */
export async function readJson(
  req: IncomingMessage,
  maxBytes: number,
  limits: DocumentLimits,
): Promise<unknown> {
  const scan = new JsonScan(jsonBounds(limits));
  const bytes = await readBytes(req, maxBytes, (chunk) => requireNoExcess(scan.add(chunk), limits));
  // Decoding would replace broken bytes silently, and the model would answer a text that nobody wrote.
  if (!isUtf8(bytes)) throw refusal('BAD_REQUEST', 'The request body is not valid UTF-8.');
  return parseJson(bytes, 'The request body is not valid JSON.');
}

/** @param check of each part as it comes; throws where the rest need not come. */
function readBytes(req: IncomingMessage, maxBytes: number, check: (chunk: Buffer) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let refused = false;
    req.on('data', (chunk: Buffer) => {
      if (chunk.length >= LONG_CHUNK_BYTES) takeTurns(req);
      // The rest is read and thrown away, because a client that could not send all would not hear of the refusal.
      if (refused) return;
      try {
        length += chunk.length;
        if (length > maxBytes) throw tooLarge(maxBytes);
        check(chunk);
        chunks.push(chunk);
      } catch (error) {
        refused = true;
        chunks.length = 0;
        reject(error);
      }
    });
    req.once('end', () => resolve(Buffer.concat(chunks)));
    req.once('close', () => reject(clientClosed()));
    req.once('error', () => reject(clientClosed()));
  });
}

/** From here on there is probably more to be read at once, of the 64 KB that Node reads. */
const LONG_CHUNK_BYTES = 16 * 1024;

/** Reads on in the next turn of the event loop. Node would first read megabytes of each body that is there. */
function takeTurns(req: IncomingMessage): void {
  req.pause();
  setImmediate(() => req.resume());
}

function tooLarge(maxBytes: number): GatewayError {
  return new GatewayError('body_too_large', `The request body is larger than ${maxBytes} bytes.`);
}
