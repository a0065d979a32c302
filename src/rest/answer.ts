import type { Telemetry } from '../core/ports.ts';
import { type Cancellable, holdBack } from '../core/stream.ts';
import { type GatewayError, toGatewayError } from '../domain/error.ts';
import type { ChatEvent } from '../domain/event.ts';
import type { LimitsState } from '../domain/limit.ts';
import { type ChatResult, foldChat } from '../domain/result.ts';
import type { EventStreamOptions } from '../http/event-stream.ts';
import type { RestResponse } from './context.ts';
import { logBug } from './errors.ts';
import { addWarnings } from './headers.ts';
import { sendJson } from './send.ts';
import { openEventStream } from './sse.ts';

export interface AnswerOptions extends EventStreamOptions {
  readonly telemetry: Pick<Telemetry, 'log'>;
  readonly holdBackMs: number;
}

/** A request under way, as far as its answer is concerned. */
export interface Source<E> {
  readonly events: Cancellable<E>;
  readonly limits: LimitsState | undefined;
}

/** Turns events into frames. One per stream, as it keeps what has been sent. */
export interface StreamEncoder<E> {
  encode(event: E): string;
  /** What comes after the last event. @throws GatewayError where events are missing. */
  end(): string;
  /** The end of a stream that failed after its status was sent. */
  fail(error: GatewayError): string;
}

/**
 * Answers with the whole of it, once it is there.
 * @param encode makes the body of it, given the warnings of the request and of the model together.
 */
export async function sendWhole(
  res: RestResponse,
  source: Source<ChatEvent>,
  warnings: readonly string[],
  encode: (result: ChatResult, warned: readonly string[]) => unknown,
): Promise<void> {
  res.locals.source = source;
  const result = await foldChat(source.events);
  const warned = [...warnings, ...result.warnings];
  addWarnings(res, warned);
  sendJson(res, encode(result, warned));
}

/**
 * Answers with a stream. Until the first real event, and at most for `holdBackMs`, failures are thrown and get their
 * true status; afterwards the status is 200, and a failure is how it ends.
 */
export async function sendStream<E extends ChatEvent>(
  res: RestResponse,
  source: Source<E>,
  encoder: StreamEncoder<E>,
  warnings: readonly string[],
  options: AnswerOptions,
): Promise<void> {
  const seen = [...warnings];
  const isReal = (batch: readonly E[]) => {
    for (const event of batch) if (event.type === 'started') seen.push(...event.warnings);
    return batch.some((event) => event.type !== 'queued' && event.type !== 'loading');
  };
  res.locals.source = source;
  const held = await holdBack(source.events, isReal, options.holdBackMs);
  addWarnings(res, seen);

  const out = openEventStream(res, options);
  if (!held.committed) out.ping();
  try {
    for await (const batch of held.stream) {
      let frames = '';
      for (const event of batch) frames += encoder.encode(event);
      const full = frames === '' ? undefined : out.write(frames);
      if (full !== undefined) await full;
    }
    out.end(encoder.end());
  } catch (thrown) {
    logBug(thrown, res.locals, options.telemetry);
    out.end(encoder.fail(toGatewayError(thrown)));
  }
}
