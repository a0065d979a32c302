import type { InferenceRequest } from '../../domain/chat.ts';
import { type ErrorCode, type GatewayError, toGatewayError } from '../../domain/error.ts';
import type { Backend } from '../../domain/model.ts';
import { rankBackends } from '../../domain/routing.ts';
import { type Attempt, createBreakers } from '../breakers.ts';
import type { Call, Handler, InferenceEvent, Step } from '../call.ts';
import type { ChatProvider, Clock, Telemetry } from '../ports.ts';
import type { Abortable } from '../signal.ts';
import { type Continuation, handOver, staged } from '../stage.ts';
import type { Cancellable } from '../stream.ts';
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

/** Ends with the stream of the backend that has begun to answer. */
type Beginning = AsyncGenerator<readonly InferenceEvent[], Continuation<InferenceEvent>>;

/** Candidates in order; the next one takes over only while nothing of the answer has been released. */
export function route(deps: {
  readonly provider: ChatProvider;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}): Step {
  const { provider, telemetry } = deps;
  const breakers = createBreakers(deps);
  let turn = 0;
  return (next) => {
    const begin = async function* (request: InferenceRequest, call: Call): Beginning {
      let failure: GatewayError | undefined;
      let toldLoading = false;
      const isFailing = (backend: Backend) => breakers.isOpen(backend.id, request.model);
      for (const backend of rankBackends(request.model, provider.backends(), turn++, isFailing)) {
        if (request.kind === 'chat' && !toldLoading && !backend.loaded.has(request.model)) {
          toldLoading = true;
          yield [loading(request.model)];
        }
        call.notes.backend = backend.id;
        const attempt = breakers.begin(backend.id, request.model);
        const sent = next(request, { ...call, backendId: backend.id });
        const rest = watched(sent, attempt, call.signal);
        try {
          return { first: await rest.next(), rest };
        } catch (thrown) {
          failure = toGatewayError(thrown);
          if (call.signal.aborted || !WORTH_ANOTHER_BACKEND.has(failure.code)) throw failure;
          logFailover(telemetry, backend, failure);
        }
      }
      throw failure ?? noBackend();
    };
    return (request, call) => handOver(begin(request, call));
  };
}

/** An answer whose end, which may be long after its beginning, is told to the breaker. */
function watched(
  answer: ReturnType<Handler>,
  attempt: Attempt,
  signal: Abortable,
): Cancellable<InferenceEvent> {
  return staged({
    open: () => answer,
    pass(batch) {
      if (batch.at(-1)?.type === 'finished') attempt.succeeded();
      return batch;
    },
    fail(thrown) {
      if (!signal.aborted && COUNTS_AGAINST_BACKEND.has(toGatewayError(thrown).code)) attempt.failed();
      return thrown;
    },
  });
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
