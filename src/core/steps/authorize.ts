import { GatewayError } from '../../domain/error.ts';
import { isModelAllowed } from '../../domain/model.ts';
import type { Principal, Scope } from '../../domain/principal.ts';
import type { Authenticator } from '../authenticate.ts';
import type { Step } from '../call.ts';
import { forwardAbort } from '../stream.ts';

/** Scope and model allow-list of the caller's key, and the key's validity for as long as the request runs. */
export function authorize(watch: Authenticator['watch']): Step {
  return (next) =>
    async function* (request, call) {
      requireScope(call.principal, request.kind === 'chat' ? 'chat' : 'embeddings');
      if (!isModelAllowed(call.principal.models, request.model)) {
        throw new GatewayError('not_permitted', 'This API key may not use the requested model.', {
          param: 'model',
        });
      }
      const whileValid = new AbortController();
      const unlink = forwardAbort(call.signal, whileValid);
      let invalid: GatewayError | undefined;
      const unwatch = watch(call.principal, (error) => {
        invalid = error;
        whileValid.abort(error);
      });
      try {
        yield* next(request, { ...call, signal: whileValid.signal });
      } catch (error) {
        throw invalid ?? error;
      } finally {
        unwatch();
        unlink();
      }
    };
}

/** @throws GatewayError `not_permitted` that names the scope. */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.includes(scope)) return;
  throw new GatewayError('not_permitted', `This API key lacks the scope \`${scope}\`.`);
}
