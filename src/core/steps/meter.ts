import { clientClosed, type GatewayError, toGatewayError } from '../../domain/error.ts';
import type { UsageRecord } from '../../domain/record.ts';
import type { Timings } from '../../domain/usage.ts';
import type { Call, InferenceEvent, Step } from '../call.ts';
import type { Clock, Telemetry, UsageSink } from '../ports.ts';
import { type Stage, staged } from '../stage.ts';

interface MeterDependencies {
  readonly usage: UsageSink;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

/** One ledger row and one log line per request, whatever its end. Outermost, so that refusals are seen too. */
export function meter(deps: MeterDependencies): Step {
  return (next) => (request, call) =>
    staged(
      () => {
        deps.telemetry.requestStarted(call);
        return next(request, call);
      },
      new Meter(deps, request.model, call),
    );
}

class Meter implements Stage<InferenceEvent> {
  readonly #deps: MeterDependencies;
  readonly #requestedModel: string;
  readonly #call: Call;
  #failure: GatewayError | undefined;
  #lastBatchAt: number | undefined;

  constructor(deps: MeterDependencies, requestedModel: string, call: Call) {
    this.#deps = deps;
    this.#requestedModel = requestedModel;
    this.#call = call;
  }

  pass(batch: readonly InferenceEvent[]): readonly InferenceEvent[] {
    const { notes, startedAt } = this.#call;
    const now = this.#deps.clock.now();
    const first = notes.firstTokenAt === undefined;
    notes.see(batch, now);
    if (this.#lastBatchAt !== undefined) {
      this.#deps.telemetry.tokenGap(this.#model, now - this.#lastBatchAt);
    } else if (first && notes.firstTokenAt !== undefined) {
      this.#deps.telemetry.firstToken(this.#model, now - startedAt);
    }
    if (notes.firstTokenAt !== undefined) this.#lastBatchAt = now;
    return notes.finished ? batch.map((event) => completed(event, this.#call, now)) : batch;
  }

  fail(thrown: unknown): GatewayError {
    const { signal } = this.#call;
    // Whatever an abort looks like by the time it arrives here, its reason is why the request ended.
    this.#failure = toGatewayError(signal.aborted ? signal.reason : thrown);
    return this.#failure;
  }

  close(): Promise<void> | undefined {
    const { usage, telemetry, clock } = this.#deps;
    const { notes, signal } = this.#call;
    if (!notes.finished) this.#failure ??= signal.aborted ? toGatewayError(signal.reason) : clientClosed();
    const record = toRecord(this.#call, this.#model, this.#failure, clock.now());
    usage.record(record);
    telemetry.requestEnded(record, this.#failure);
    return usage.departure?.();
  }

  get #model(): string {
    return this.#call.notes.model ?? this.#requestedModel;
  }
}

/** The last event with what only the gateway can know of the request's time, and the usage that the limits settle by. */
function completed(event: InferenceEvent, call: Call, now: number): InferenceEvent {
  if (event.type !== 'finished') return event;
  return { ...event, usage: call.notes.usage(), timings: timingsOf(call, now) };
}

function timingsOf({ notes, startedAt }: Call, now: number): Timings {
  const { finished, firstTokenAt } = notes;
  const firstTokenMs = firstTokenAt === undefined ? undefined : firstTokenAt - startedAt;
  return { ...finished?.timings, firstTokenMs, totalMs: now - startedAt };
}

function toRecord(call: Call, model: string, failure: GatewayError | undefined, now: number): UsageRecord {
  const { notes } = call;
  return {
    id: call.id,
    requestId: call.requestId,
    keyId: call.principal.keyId,
    protocol: call.protocol,
    operation: call.operation,
    model,
    backend: notes.backend,
    status: failure === undefined ? 'ok' : failure.code === 'client_closed' ? 'cancelled' : 'error',
    errorCode: failure?.code,
    finishReason: notes.finished?.reasons[0]?.unified,
    streamed: call.streamed,
    usage: notes.usage(),
    timings: timingsOf(call, now),
    startedAt: new Date(call.startedAt),
  };
}
