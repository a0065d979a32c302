import { answerCors } from '../http/cors.ts';
import type { Handler, RestConfig } from './context.ts';
import { EXPOSED_HEADERS } from './headers.ts';

/** The policy of `http/cors.ts` as a middleware. */
export function cors(origins: RestConfig['corsOrigins']): Handler {
  return (req, res, next) => {
    if (!answerCors(req, res, origins, EXPOSED_HEADERS)) next();
  };
}
