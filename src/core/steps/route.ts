import type { InferenceRequest } from '../../domain/chat.ts';
import { type ErrorCode, type GatewayError, toGatewayError } from '../../domain/error.ts';
import type { Backend } from '../../domain/model.ts';
import { rankBackends } from '../../domain/routing.ts';
import { type Attempt, createBreakers } from '../breakers.ts';
import type { Call, InferenceEvent, Step } from '../call.ts';
import type { Place, Places } from '../places.ts';
import type { ChatProvider, Clock, Telemetry } from '../ports.ts';
import type { Abortable } from '../signal.ts';
import { type Continuation, handOver, type Stage, staged } from '../stage.ts';
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

/**
 * One backend after another, where each has a place for it; the next one takes over only while nothing of the answer has
 * been released.
 */
export function route(deps: {
  readonly provider: ChatProvider;
  readonly places: Places;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}): Step {
  const { provider, places, telemetry } = deps;
  const breakers = createBreakers(deps);
  let turn = 0;

  /** Those that have not failed at this request. One that keeps failing is no reason not to wait for another. */
  const candidatesFor =
    ({ model }: InferenceRequest, tried: readonly string[], startAt: number) =>
    () => {
      const isFailing = (backend: Backend) => breakers.isOpen(backend.id, model);
      const ranked = rankBackends(model, provider.backends(), startAt);
      const untried = tried.length === 0 ? ranked : ranked.filter(({ id }) => !tried.includes(id));
      // Mostly none is, and what is not filtered need not be copied.
      const sound = untried.some(isFailing) ? untried.filter((backend) => !isFailing(backend)) : untried;
      return sound.length > 0 ? sound : untried;
    };

  return (next) => {
    const begin = async function* (request: InferenceRequest, call: Call): Beginning {
      const { model } = request;
      const tried: string[] = [];
      const backends = candidatesFor(request, tried, turn++);
      const candidate = { model, keyId: call.principal.keyId, backends, signal: call.signal };
      let failure: GatewayError | undefined;
      let toldLoading = false;
      let waitedMs = 0;
      for (;;) {
        const free = places.tryTake(candidate);
        // Only chats have such events, and none of them after `loading`.
        const tells = request.kind === 'chat' && !toldLoading;
        const place = free === 'full' ? yield* waitFor(places.take(candidate), tells) : free;
        if (!place) throw failure ?? noBackend();
        const { backend } = place;
        waitedMs += place.waitedMs;
        tried.push(backend.id);
        call.notes.backend = backend.id;
        const attempt = breakers.begin(backend.id, model);
        const rest = staged(
          () => next(request, { ...call, backendId: backend.id }),
          new Watched(place, waitedMs, attempt, call.signal),
        );
        let isBegun = false;
        try {
          if (request.kind === 'chat' && !toldLoading && !backend.loaded.has(model)) {
            toldLoading = true;
            yield [{ type: 'loading', model }];
          }
          isBegun = true;
          return { first: await rest.next(), rest };
        } catch (thrown) {
          failure = toGatewayError(thrown);
          if (call.signal.aborted || !WORTH_ANOTHER_BACKEND.has(failure.code)) throw failure;
          logFailover(telemetry, backend, failure);
        } finally {
          // What has begun leaves its place at its own end.
          if (!isBegun) place.leave();
        }
      }
    };
    return (request, call) => handOver(begin(request, call));
  };
}

/** @param tells whether positions become events. */
async function* waitFor(
  positions: ReturnType<Places['take']>,
  tells: boolean,
): AsyncGenerator<readonly InferenceEvent[], Place | undefined> {
  try {
    for (;;) {
      const { done, value } = await positions.next();
      if (done) return value;
      if (tells) yield [{ type: 'queued', position: value }];
    }
  } finally {
    await positions.return(undefined);
  }
}

/** An answer whose end, which may be long after its beginning, leaves the place and is told to the breaker. */
class Watched implements Stage<InferenceEvent> {
  readonly #place: Pick<Place, 'leave'>;
  readonly #waitedMs: number;
  readonly #attempt: Attempt;
  readonly #signal: Abortable;

  /** @param waitedMs for all places so far. */
  constructor(place: Pick<Place, 'leave'>, waitedMs: number, attempt: Attempt, signal: Abortable) {
    this.#place = place;
    this.#waitedMs = waitedMs;
    this.#attempt = attempt;
    this.#signal = signal;
  }

  pass(batch: readonly InferenceEvent[]): readonly InferenceEvent[] {
    if (batch.at(-1)?.type !== 'finished') return batch;
    this.#attempt.succeeded();
    return this.#waitedMs > 0 ? batch.map((event) => delayed(event, this.#waitedMs)) : batch;
  }

  fail(thrown: unknown): unknown {
    const { code } = toGatewayError(thrown);
    if (!this.#signal.aborted && COUNTS_AGAINST_BACKEND.has(code)) this.#attempt.failed();
    return thrown;
  }

  close(): undefined {
    this.#place.leave();
  }
}

/** The last event with the wait for a place as part of that for the backend. */
function delayed(event: InferenceEvent, waitedMs: number): InferenceEvent {
  if (event.type !== 'finished') return event;
  const queueMs = (event.timings.queueMs ?? 0) + waitedMs;
  return { ...event, timings: { ...event.timings, queueMs } };
}

function logFailover(telemetry: Telemetry, backend: Backend, failure: GatewayError): void {
  telemetry.log('warn', 'a backend failed before its answer began', {
    backend: backend.id,
    code: failure.code,
    detail: failure.detail,
  });
}
