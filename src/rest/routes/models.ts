import type { Gateway } from '../../core/gateway.ts';
import { type Handler, principalOf } from '../context.ts';
import { encodeModel } from '../openai/response.ts';
import { sendJson } from '../send.ts';

/** `GET /v1/models` */
export function listModels(gateway: Pick<Gateway, 'listModels'>): Handler {
  return (_req, res) => {
    const models = gateway.listModels(principalOf(res));
    sendJson(res, { object: 'list', data: models.map(encodeModel) });
  };
}

/**
 * `GET /v1/models/{id}`, the id being the whole rest of the path, as ids contain slashes and clients send them raw or
 * encoded. The router has decoded each segment, once.
 */
export function getModel(gateway: Pick<Gateway, 'getModel'>): Handler {
  return async (req, res) => {
    const segments = req.params['id'];
    const id = Array.isArray(segments) ? segments.join('/') : (segments ?? '');
    sendJson(res, encodeModel(await gateway.getModel(principalOf(res), id)));
  };
}
