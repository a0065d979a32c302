import type { ChatRequest } from '../../domain/chat.ts';
import { clientClosed } from '../../domain/error.ts';
import type { ChatEvent, Finished } from '../../domain/event.ts';
import { sumUsage } from '../../domain/usage.ts';
import type { Call, Handler, InferenceEvent, Step } from '../call.ts';
import { Cancellation, forwardAbort } from '../signal.ts';
import { merge } from '../stream.ts';

/** How many choices of one request run at a time: one request must not occupy the fleet. */
const CHOICES_AT_ONCE = 4;

/** Ollama gives one answer per request: several choices are several requests, merged into one stream. */
export function choices(): Step {
  return (next) => (request, call) =>
    request.kind === 'chat' && request.choices > 1 ? fanOut(next, request, call) : next(request, call);
}

async function* fanOut(
  next: Handler,
  request: ChatRequest,
  call: Call,
): AsyncGenerator<readonly InferenceEvent[]> {
  const siblings = new Cancellation();
  const unlink = forwardAbort(call.signal, siblings);
  const sources = Array.from({ length: request.choices }, (_, choice) => {
    const { seed } = request.sampling;
    // One seed for all would make all answers the same.
    const sampling = seed === undefined ? request.sampling : { ...request.sampling, seed: seed + choice };
    return () => next({ ...request, choices: 1, sampling }, { ...call, signal: siblings });
  });

  const finished: Finished[] = [];
  let rank = 0;
  try {
    for await (const { source, value } of merge(sources, CHOICES_AT_ONCE)) {
      const batch: InferenceEvent[] = [];
      for (const event of value) {
        if (event.type === 'finished') finished[source] = event;
        else if ('choice' in event) batch.push({ ...event, choice: source });
        else if (RANK[event.type] > rank) {
          rank = RANK[event.type];
          batch.push(event);
        }
      }
      if (batch.length > 0) yield batch;
    }
    yield [together(finished)];
  } finally {
    unlink();
    siblings.abort(clientClosed());
  }
}

/** What comes before the answers is told once, by whichever choice gets there first. */
const RANK: Readonly<Record<Exclude<InferenceEvent, { choice: number } | Finished>['type'], number>> = {
  queued: 1,
  loading: 2,
  started: 3,
  embedded: 4,
};

/**
 * One end for all choices. Each was a generation of its own that read the prompt again, so all counts add up; the time
 * is that of the slowest.
 */
function together(finished: readonly Finished[]): ChatEvent {
  const slowest = finished.reduce((a, b) => ((a.timings.totalMs ?? 0) >= (b.timings.totalMs ?? 0) ? a : b));
  return {
    type: 'finished',
    reasons: finished.flatMap((one) => one.reasons),
    usage: sumUsage(finished.map((one) => one.usage)),
    timings: slowest.timings,
  };
}
