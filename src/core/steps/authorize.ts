import { GatewayError } from '../../domain/error.ts';
import { isModelAllowed } from '../../domain/model.ts';
import type { Principal, Scope } from '../../domain/principal.ts';
import type { Step } from '../call.ts';

/** Scope and model allow-list of the caller's key. */
export function authorize(): Step {
  return (next) =>
    async function* (request, call) {
      requireScope(call.principal, request.kind === 'chat' ? 'chat' : 'embeddings');
      if (!isModelAllowed(call.principal.models, request.model)) {
        throw new GatewayError('not_permitted', 'This API key may not use the requested model.', {
          param: 'model',
        });
      }
      yield* next(request, call);
    };
}

/** @throws GatewayError `not_permitted` that names the scope. */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.includes(scope)) return;
  throw new GatewayError('not_permitted', `This API key lacks the scope \`${scope}\`.`);
}
