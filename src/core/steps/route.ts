import { type ErrorCode, type GatewayError, toGatewayError } from '../../domain/error.ts';
import type { Backend } from '../../domain/model.ts';
import { rankBackends } from '../../domain/routing.ts';
import { createBreakers } from '../breakers.ts';
import type { InferenceEvent, Step } from '../call.ts';
import type { ChatProvider, Clock, Telemetry } from '../ports.ts';
import { noBackend } from './resolve.ts';

/** Failures of one backend that another may not share. A timeout is not among them: the caller has waited enough. */
const WORTH_ANOTHER_BACKEND: ReadonlySet<ErrorCode> = new Set([
  'upstream_unavailable',
  'upstream_busy',
  'upstream_failed',
  'upstream_incomplete',
  'model_not_found',
]);

/** Failures that are the backend's own and may go on, whether or not its answer had begun. */
const COUNTS_AGAINST_BACKEND: ReadonlySet<ErrorCode> = new Set(['upstream_failed', 'upstream_incomplete']);

/** Candidates in order; the next one takes over only while nothing of the answer has been released. */
export function route(deps: {
  readonly provider: ChatProvider;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}): Step {
  const { provider, telemetry } = deps;
  const breakers = createBreakers(deps);
  let turn = 0;
  return (next) =>
    async function* (request, call) {
      let failure: GatewayError | undefined;
      let toldLoading = false;
      const isFailing = (backend: Backend) => breakers.isOpen(backend.id, request.model);
      for (const backend of rankBackends(request.model, provider.backends(), turn++, isFailing)) {
        if (request.kind === 'chat' && !toldLoading && !backend.loaded.has(request.model)) {
          toldLoading = true;
          yield [loading(request.model)];
        }
        let released = false;
        call.notes.backend = backend.id;
        const attempt = breakers.begin(backend.id, request.model);
        try {
          for await (const batch of next(request, { ...call, backendId: backend.id })) {
            released = true;
            if (batch.at(-1)?.type === 'finished') attempt.succeeded();
            yield batch;
          }
          return;
        } catch (thrown) {
          failure = toGatewayError(thrown);
          if (!call.signal.aborted && COUNTS_AGAINST_BACKEND.has(failure.code)) attempt.failed();
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
