import { type ErrorCode, type GatewayError, toGatewayError } from '../../domain/error.ts';
import type { Backend } from '../../domain/model.ts';
import { rankBackends } from '../../domain/routing.ts';
import type { InferenceEvent, Step } from '../call.ts';
import type { ChatProvider, Telemetry } from '../ports.ts';
import { noBackend } from './resolve.ts';

/** Failures of one backend that another may not share. A timeout is not among them: the caller has waited enough. */
const WORTH_ANOTHER_BACKEND: ReadonlySet<ErrorCode> = new Set([
  'upstream_unavailable',
  'upstream_busy',
  'upstream_failed',
  'upstream_incomplete',
  'model_not_found',
]);

/** Candidates in order; the next one takes over only while nothing of the answer has been released. */
export function route(deps: { readonly provider: ChatProvider; readonly telemetry: Telemetry }): Step {
  const { provider, telemetry } = deps;
  let turn = 0;
  return (next) =>
    async function* (request, call) {
      let failure: GatewayError | undefined;
      let toldLoading = false;
      for (const backend of rankBackends(request.model, provider.backends(), turn++)) {
        if (request.kind === 'chat' && !toldLoading && !backend.loaded.has(request.model)) {
          toldLoading = true;
          yield [loading(request.model)];
        }
        let released = false;
        call.notes.backend = backend.id;
        try {
          for await (const batch of next(request, { ...call, backendId: backend.id })) {
            released = true;
            yield batch;
          }
          return;
        } catch (thrown) {
          failure = toGatewayError(thrown);
          if (released || call.signal.aborted || !WORTH_ANOTHER_BACKEND.has(failure.code)) throw failure;
          logFailover(telemetry, backend, failure);
        }
      }
      throw failure ?? noBackend();
    };
}

function loading(model: string): InferenceEvent {
  return { type: 'loading', model };
}

function logFailover(telemetry: Telemetry, backend: Backend, failure: GatewayError): void {
  telemetry.log('warn', 'a backend failed before its answer began', {
    backend: backend.id,
    code: failure.code,
    detail: failure.detail,
  });
}
