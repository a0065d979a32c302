import type { InferenceRequest } from './chat.ts';
import { GatewayError } from './error.ts';
import type { Capability, Model } from './model.ts';

/**
 * Refuses a request for what its model cannot do, before anything is spent on it. A model whose capabilities are
 * unknown (an old server does not tell) is given the benefit of the doubt.
 *
 * Reasoning effort is not checked: a model that does not reason answers all the same, with a warning.
 * @throws GatewayError `capability_missing`, with the request's field at fault.
 */
export function assertCapable(request: InferenceRequest, model: Model): void {
  if (model.capabilities.length === 0) return;
  const need = (capability: Capability, what: string, param: string) => {
    if (model.capabilities.includes(capability)) return;
    throw new GatewayError('capability_missing', `The model \`${model.id}\` does not support ${what}.`, {
      param,
    });
  };
  if (request.kind === 'embedding') {
    need('embedding', 'embeddings', 'model');
    return;
  }
  need('completion', 'chat', 'model');
  if (request.suffix !== undefined) need('insert', 'filling in the middle of a text', 'suffix');
  if (request.tools.length > 0 && request.toolChoice.type !== 'none') need('tools', 'tools', 'tools');
  const image = request.messages.findIndex((message) =>
    message.content.some((part) => part.type === 'image'),
  );
  if (image >= 0) need('vision', 'images', `messages[${image}].content`);
}
