import type { ToolCall } from './chat.ts';
import type { ChatEvent, Embedded, EmbeddingEvent, Finished, FinishReason, TokenLogprob } from './event.ts';
import { Pieces } from './pieces.ts';
import type { Timings, Usage } from './usage.ts';

/** A whole answer: what a stream of events amounts to. */
export interface ChatResult {
  readonly model: string;
  readonly backend: string;
  readonly warnings: readonly string[];
  readonly choices: readonly ChoiceResult[];
  readonly usage: Usage;
  readonly timings: Timings;
}

export interface ChoiceResult {
  readonly text: string;
  readonly reasoning: string;
  readonly toolCalls: readonly ToolCall[];
  readonly logprobs: readonly TokenLogprob[];
  readonly finish: FinishReason;
}

/**
 * Folds a stream into the answer it amounts to; a request without streaming is this fold and nothing else.
 * @throws Error if the stream breaks its grammar by lacking `started` or `finished`.
 */
export async function foldChat(stream: AsyncIterable<readonly ChatEvent[]>): Promise<ChatResult> {
  const choices: { text: Pieces; reasoning: Pieces; toolCalls: ToolCall[]; logprobs: TokenLogprob[] }[] = [];
  const choiceAt = (index: number) => {
    choices[index] ??= { text: new Pieces(), reasoning: new Pieces(), toolCalls: [], logprobs: [] };
    return choices[index];
  };
  let started: Extract<ChatEvent, { type: 'started' }> | undefined;
  let finished: Extract<ChatEvent, { type: 'finished' }> | undefined;
  for await (const batch of stream) {
    for (const event of batch) {
      if (event.type === 'content') {
        const { text, logprobs } = choiceAt(event.choice);
        text.add(event.text);
        // One by one: a hostile backend's million of them would not fit into one call.
        if (event.logprobs) for (const logprob of event.logprobs) logprobs.push(logprob);
      } else if (event.type === 'reasoning') choiceAt(event.choice).reasoning.add(event.text);
      else if (event.type === 'toolCall') {
        const { id, name } = event;
        choiceAt(event.choice).toolCalls.push({ id, name, arguments: event.arguments });
      } else if (event.type === 'started') started = event;
      else if (event.type === 'finished') finished = event;
    }
  }
  if (!started || !finished) throw new Error('a chat stream ended without started or finished');
  const { model, backend, warnings } = started;
  const { usage, timings } = finished;
  return {
    model,
    backend,
    warnings,
    usage,
    timings,
    choices: finished.reasons.map((finish, index) => {
      const { text, reasoning, toolCalls, logprobs } = choiceAt(index);
      return { text: text.join(), reasoning: reasoning.join(), toolCalls, logprobs, finish };
    }),
  };
}

export type EmbeddingResult = Pick<Embedded, 'model' | 'warnings' | 'vectors'> &
  Pick<Finished, 'usage' | 'timings'>;

/** As `foldChat`, for embeddings. */
export async function foldEmbedding(
  stream: AsyncIterable<readonly EmbeddingEvent[]>,
): Promise<EmbeddingResult> {
  let embedded: Embedded | undefined;
  let finished: Finished | undefined;
  for await (const batch of stream) {
    for (const event of batch) {
      if (event.type === 'embedded') embedded = event;
      else finished = event;
    }
  }
  if (!embedded || !finished) throw new Error('an embedding stream ended without embedded or finished');
  const { model, warnings, vectors } = embedded;
  const { usage, timings } = finished;
  return { model, warnings, vectors, usage, timings };
}
