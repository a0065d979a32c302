import { GatewayError } from '../../domain/error.ts';
import { isModelAllowed } from '../../domain/model.ts';
import type { Principal, Scope } from '../../domain/principal.ts';
import type { Authenticator } from '../authenticate.ts';
import type { InferenceEvent, Step } from '../call.ts';
import { type Stage, staged } from '../stage.ts';

/** Scope and model allow-list of the caller's key, and the key's validity for as long as the request runs. */
export function authorize(watch: Authenticator['watch']): Step {
  return (next) => (request, call) => {
    const watching = new Watching();
    return staged(() => {
      requireScope(call.principal, request.kind === 'chat' ? 'chat' : 'embeddings');
      requireModel(call.principal, request.model);
      watching.end = watch(call.principal, call.end);
      return next(request, call);
    }, watching);
  };
}

class Watching implements Stage<InferenceEvent> {
  end: (() => void) | undefined;

  close(): undefined {
    this.end?.();
  }
}

function requireModel(principal: Principal, model: string): void {
  if (isModelAllowed(principal.models, model)) return;
  throw new GatewayError('not_permitted', 'This API key may not use the requested model.', {
    param: 'model',
  });
}

/** @throws GatewayError `not_permitted` that names the scope. */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.includes(scope)) return;
  throw new GatewayError('not_permitted', `This API key lacks the scope \`${scope}\`.`);
}
