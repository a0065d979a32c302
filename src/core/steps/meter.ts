import { clientClosed, type GatewayError, toGatewayError } from '../../domain/error.ts';
import type { UsageRecord } from '../../domain/record.ts';
import type { Timings } from '../../domain/usage.ts';
import type { Call, InferenceEvent, Step } from '../call.ts';
import type { Clock, Telemetry, UsageSink } from '../ports.ts';
import { staged } from '../stage.ts';

/** One ledger row and one log line per request, whatever its end. Outermost, so that refusals are seen too. */
export function meter(deps: {
  readonly usage: UsageSink;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}): Step {
  const { usage, telemetry, clock } = deps;
  return (next) => (request, call) => {
    const { notes } = call;
    let failure: GatewayError | undefined;
    let lastBatchAt: number | undefined;
    return staged({
      open() {
        telemetry.requestStarted(call);
        return next(request, call);
      },
      pass(batch) {
        const now = clock.now();
        const first = notes.firstTokenAt === undefined;
        notes.see(batch, now);
        if (lastBatchAt !== undefined) telemetry.tokenGap(notes.model ?? request.model, now - lastBatchAt);
        else if (first && notes.firstTokenAt !== undefined) {
          telemetry.firstToken(notes.model ?? request.model, now - call.startedAt);
        }
        if (notes.firstTokenAt !== undefined) lastBatchAt = now;
        return notes.finished ? batch.map((event) => completed(event, call, now)) : batch;
      },
      fail(thrown) {
        // Whatever an abort looks like by the time it arrives here, its reason is why the request ended.
        failure = toGatewayError(call.signal.aborted ? call.signal.reason : thrown);
        return failure;
      },
      close() {
        if (!notes.finished)
          failure ??= call.signal.aborted ? toGatewayError(call.signal.reason) : clientClosed();
        const record = toRecord(call, request.model, failure, clock.now());
        usage.record(record);
        telemetry.requestEnded(record, failure);
        return usage.departure?.();
      },
    });
  };
}

/** The last event with what only the gateway can know of the request's time, and the usage that the limits settle by. */
function completed(event: InferenceEvent, call: Call, now: number): InferenceEvent {
  if (event.type !== 'finished') return event;
  return { ...event, usage: call.notes.usage(), timings: { ...event.timings, ...ownTimings(call, now) } };
}

function ownTimings(call: Call, now: number): Timings {
  const { firstTokenAt } = call.notes;
  return {
    ...(firstTokenAt !== undefined && { firstTokenMs: firstTokenAt - call.startedAt }),
    totalMs: now - call.startedAt,
  };
}

function toRecord(
  call: Call,
  requestedModel: string,
  failure: GatewayError | undefined,
  now: number,
): UsageRecord {
  const { notes } = call;
  const reason = notes.finished?.reasons[0]?.unified;
  return {
    id: call.id,
    requestId: call.requestId,
    keyId: call.principal.keyId,
    protocol: call.protocol,
    operation: call.operation,
    model: notes.model ?? requestedModel,
    ...(notes.backend !== undefined && { backend: notes.backend }),
    status: failure === undefined ? 'ok' : failure.code === 'client_closed' ? 'cancelled' : 'error',
    ...(failure !== undefined && { errorCode: failure.code }),
    ...(reason !== undefined && { finishReason: reason }),
    streamed: call.streamed,
    usage: notes.usage(),
    timings: { ...notes.finished?.timings, ...ownTimings(call, now) },
    startedAt: new Date(call.startedAt),
  };
}
