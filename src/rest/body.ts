import { GatewayError } from '../domain/error.ts';
import { readJsonBody, requireJsonBody, UnreadableBody } from '../http/body.ts';
import { type Excess, JsonScan } from '../http/json-bounds.ts';
import type { Handler, RestConfig, RestResponse } from './context.ts';

const JSON_TYPE = /^application\/(?:[\w.-]+\+)?json[ \t]*(?:;|$)/i;

/** Answers a request with a body, a JSON object. Resolves when the answer has been written. */
export type BodyHandler = (body: object, res: RestResponse) => Promise<void>;

/**
 * Reads the body for a handler, and begins it. Nobody waits for its end: whatever does so keeps the body, and all that the
 * router has made on the way here, for as long as the answer takes.
 * @param fail answers what the handler throws.
 */
export function withBody(
  { maxBodyBytes }: Pick<RestConfig, 'maxBodyBytes'>,
  handle: BodyHandler,
  fail: (thrown: unknown, res: RestResponse) => void,
): Handler {
  return (req, res) => {
    requireJsonBody(req, maxBodyBytes, JSON_TYPE);
    readJsonBody(req, maxBodyBytes, new JsonScan(), requireNoExcess)
      .then((body) => {
        requireObject(body);
        req.next = undefined;
        return handle(body, res);
      })
      .catch((thrown: unknown) => {
        try {
          fail(explain(thrown), res);
        } catch {
          // Not even the failure could be sent. Nobody is behind this who would hear of it.
          res.destroy();
        }
      });
  };
}

function requireObject(body: unknown): asserts body is object {
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return;
  throw new GatewayError('invalid_request', 'The request body must be a JSON object.');
}

function requireNoExcess(excess: Excess | undefined): void {
  if (excess) throw new GatewayError('invalid_request', `The request body ${excess.sentence}.`);
}

function explain(error: unknown): unknown {
  return error instanceof UnreadableBody ? new GatewayError('invalid_request', error.message) : error;
}
