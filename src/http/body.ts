import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { clientClosed, GatewayError } from '../domain/error.ts';
import type { Excess, JsonScan } from './json-bounds.ts';

/** What some programs begin every text with, and JSON must not. It may be ignored (RFC 8259, section 8.1). */
const BYTE_ORDER_MARK = 0xfeff;

/** From here on there is probably more to be read at once, of the 64 KB that Node reads. */
const LONG_CHUNK_BYTES = 16 * 1024;

/** A body that is not even text, or no JSON. Says nothing of what it was. */
export class UnreadableBody extends Error {
  override readonly name = 'UnreadableBody';
}

/**
 * What a request's head says about a body of JSON, judged before any of it is read.
 * @param isJson what is taken for a media type of JSON.
 * @throws GatewayError `unsupported_media_type`, `body_too_large`
 */
export function requireJsonBody({ headers }: IncomingMessage, maxBytes: number, isJson: RegExp): void {
  const type = headers['content-type'] ?? '';
  if (!isJson.test(type)) {
    throw unsupported('Send the request body as `Content-Type: application/json`.');
  }
  const charset = /;\s*charset="?([^";\s]*)/i.exec(type)?.[1];
  if (charset && !/^utf-?8$/i.test(charset)) throw unsupported('The request body must be encoded in UTF-8.');
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') {
    throw unsupported('Compressed request bodies are not supported.');
  }
  if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
}

/**
 * Reads a body of JSON.
 * @param requireNoExcess throws for what the scan finds to be too much; the rest need not come then.
 * @throws UnreadableBody; GatewayError `body_too_large`, `client_closed`
 */
export function readJsonBody(
  req: IncomingMessage,
  maxBytes: number,
  scan: JsonScan,
  requireNoExcess: (excess: Excess | undefined) => void,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let refused = false;
    const onData = (chunk: Buffer) => {
      if (chunk.length >= LONG_CHUNK_BYTES) takeTurns(req);
      // The rest is read and thrown away, because a client that could not send all would not hear of the refusal.
      if (refused) return;
      try {
        length += chunk.length;
        if (length > maxBytes) throw tooLarge(maxBytes);
        requireNoExcess(scan.add(chunk));
        chunks.push(chunk);
      } catch (error) {
        refused = true;
        chunks.length = 0;
        reject(error);
      }
    };
    const onLeave = () => reject(clientClosed());
    const onEnd = () => {
      // The request lasts as long as its answer, and with its listeners would keep what they have read.
      req.off('data', onData).off('end', onEnd).off('close', onLeave).off('error', onLeave);
      try {
        resolve(parse(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
      } catch (error) {
        reject(error);
      }
    };
    req.on('data', onData).on('end', onEnd).on('close', onLeave).on('error', onLeave);
  });
}

function parse(bytes: Buffer): unknown {
  // Decoding would replace broken bytes silently, and the model would answer a text that nobody wrote.
  if (!isUtf8(bytes)) throw new UnreadableBody('The request body is not valid UTF-8.');
  const text = bytes.toString('utf8');
  try {
    return JSON.parse(text.charCodeAt(0) === BYTE_ORDER_MARK ? text.slice(1) : text);
  } catch {
    throw new UnreadableBody('The request body is not valid JSON.');
  }
}

/** Reads on in the next turn of the event loop. Node would first read megabytes of each body that is there. */
function takeTurns(req: IncomingMessage): void {
  req.pause();
  setImmediate(() => req.resume());
}

function unsupported(message: string): GatewayError {
  return new GatewayError('unsupported_media_type', message);
}

function tooLarge(maxBytes: number): GatewayError {
  return new GatewayError('body_too_large', `The request body is larger than ${maxBytes} bytes.`);
}
