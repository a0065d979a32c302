import { GatewayError } from '../../domain/error.ts';
import type { TokenLogprob } from '../../domain/event.ts';
import type { InferenceEvent, Step } from '../call.ts';
import { type Stage, staged } from '../stage.ts';

/** Of a whole answer, all choices together: many times the longest context there is. */
const MAX_CHARACTERS = 16 * 1024 * 1024;
/** What a log probability, or an alternative of one, counts as for the memory it takes. */
const LOGPROB_CHARACTERS = 64;

/**
 * An answer that is given as a whole is kept in memory until its end, so it must have one. A stream of which nothing is
 * kept passes through, and may be as long as its deadline allows. Embeddings are bounded where they are read.
 */
export function bound(): Step {
  return (next) => (request, call) => {
    const passes = call.streamed && !call.isKept;
    if (passes || request.kind === 'embedding') return next(request, call);
    return staged(() => next(request, call), new Bound());
  };
}

class Bound implements Stage<InferenceEvent> {
  readonly #keep = createBound();

  pass(batch: readonly InferenceEvent[]): readonly InferenceEvent[] {
    const failure = this.#keep(batch);
    if (failure) throw failure;
    return batch;
  }
}

/**
 * Counts what is kept of one answer, which may be made of several streams.
 * @returns what takes each batch, and gives `upstream_incomplete` from where on it is too much.
 */
export function createBound(): (batch: readonly InferenceEvent[]) => GatewayError | undefined {
  let characters = 0;
  return (batch) => {
    for (const event of batch) characters += sizeOf(event);
    return characters > MAX_CHARACTERS ? tooLong() : undefined;
  };
}

function sizeOf(event: InferenceEvent): number {
  switch (event.type) {
    case 'content':
      return event.text.length + (event.logprobs ? sizeOfLogprobs(event.logprobs) : 0);
    case 'reasoning':
      return event.text.length;
    case 'toolCall':
      return event.id.length + event.name.length + event.arguments.length;
    default:
      return 0;
  }
}

function sizeOfLogprobs(logprobs: readonly TokenLogprob[]): number {
  return logprobs.reduce((sum, { top }) => sum + (1 + top.length) * LOGPROB_CHARACTERS, 0);
}

function tooLong(): GatewayError {
  return new GatewayError('upstream_incomplete', 'The answer of the model server has no end in sight.', {
    detail: `more than ${MAX_CHARACTERS} characters of an answer that is kept until its end`,
    retryable: false,
  });
}
