import { assertCapable } from '../../domain/capability.ts';
import { GatewayError } from '../../domain/error.ts';
import type { Model } from '../../domain/model.ts';
import { findModel } from '../../domain/routing.ts';
import type { Step } from '../call.ts';
import type { ChatProvider } from '../ports.ts';
import { staged } from '../stage.ts';

/**
 * The model's full id, and whether it can do what is asked. Before the limits, so that a request which could never run
 * takes nothing from them.
 */
export function resolve(provider: ChatProvider): Step {
  return (next) => (request, call) => {
    const go = (model: Model) => {
      call.notes.model = model.id;
      assertCapable(request, model);
      return next(request.model === model.id ? request : { ...request, model: model.id }, call);
    };
    return staged(() => {
      // Mostly it is known, and there is nothing to wait for.
      const known = findModel(request.model, provider.backends());
      return known ? go(known) : resolveModel(provider, request.model).then(go);
    });
  };
}

/** @throws GatewayError `model_not_found`, or `upstream_unavailable` where nobody is there to know. */
export async function resolveModel(provider: ChatProvider, name: string): Promise<Model> {
  const known = findModel(name, provider.backends());
  if (known) return known;
  // It may have been pulled a moment ago.
  await provider.refresh();
  const found = findModel(name, provider.backends());
  if (found) return found;
  if (!provider.backends().some((backend) => backend.healthy)) throw noBackend();
  throw modelNotFound(name);
}

export function noBackend(): GatewayError {
  return new GatewayError('upstream_unavailable', 'No model server is available right now.', {
    retryAfterMs: 2000,
  });
}

/** The same for a model that does not exist and for one that the caller may not know of. */
export function modelNotFound(name: string): GatewayError {
  const message = `The model \`${name.slice(0, 128)}\` does not exist or you do not have access to it.`;
  return new GatewayError('model_not_found', message, { param: 'model' });
}
