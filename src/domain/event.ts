import type { Timings, Usage } from './usage.ts';

/**
 * The answer to a chat request is a stream of events with a grammar:
 *
 *     queued* loading? started (reasoning | content | toolCall)* finished
 *
 * Exactly one terminal. A failure is not an event: it is thrown as a GatewayError, and each protocol turns it into its
 * own terminal frame. A stream that merely ends is incomplete, and whoever reads it must say so.
 *
 * Streams carry batches, one per network read, so that the layers between backend and client are paid once a read and
 * not once a token.
 */
export type ChatEvent = Queued | Loading | Started | Reasoning | Content | ToolCallEvent | Finished;
export type ChatStream = AsyncIterable<readonly ChatEvent[]>;

/** The answer to an embedding request: `embedded finished`, in one batch. */
export type EmbeddingEvent = Embedded | Finished;
export type EmbeddingStream = AsyncIterable<readonly EmbeddingEvent[]>;

/** Waiting for a backend. `position` counts the requests ahead, from 0. */
export interface Queued {
  readonly type: 'queued';
  readonly position: number;
}

/** The backend is, as far as is known, reading the model into memory. */
export interface Loading {
  readonly type: 'loading';
  readonly model: string;
}

/** The model produces. From here on no other backend can take over. */
export interface Started {
  readonly type: 'started';
  readonly model: string;
  /** The backend's label, never its address. */
  readonly backend: string;
  /** What was asked for and could not be honoured, one sentence each. */
  readonly warnings: readonly string[];
}

export interface Reasoning {
  readonly type: 'reasoning';
  /** Which of the request's choices, from 0. */
  readonly choice: number;
  readonly text: string;
}

export interface Content {
  readonly type: 'content';
  readonly choice: number;
  readonly text: string;
  readonly logprobs?: readonly TokenLogprob[];
}

/** A whole tool call. `index` counts the calls of one choice, from 0; `arguments` is the JSON text of an object. */
export interface ToolCallEvent {
  readonly type: 'toolCall';
  readonly choice: number;
  readonly index: number;
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

export interface Finished {
  readonly type: 'finished';
  /** One per choice. Empty for embeddings. */
  readonly reasons: readonly FinishReason[];
  readonly usage: Usage;
  readonly timings: Timings;
}

export interface FinishReason {
  readonly unified: 'stop' | 'length' | 'toolCalls';
  /** As the backend put it. */
  readonly raw: string;
}

export interface Embedded {
  readonly type: 'embedded';
  readonly model: string;
  /** As those of `Started`. */
  readonly warnings: readonly string[];
  /** One vector per input, in their order. */
  readonly vectors: readonly (readonly number[])[];
}

export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
  /** UTF-8 bytes, where the backend sends them. */
  readonly bytes?: readonly number[];
  readonly top: readonly Omit<TokenLogprob, 'top'>[];
}

const RANK = {
  queued: 0,
  loading: 1,
  started: 2,
  reasoning: 3,
  content: 3,
  toolCall: 3,
  finished: 4,
} as const;

/**
 * Checks a whole stream of events against the grammar.
 * @throws Error that names the first event out of place.
 */
export function assertGrammar(events: readonly ChatEvent[]): void {
  let rank = 0;
  let started = false;
  for (const [position, event] of events.entries()) {
    const next = RANK[event.type];
    const repeatable = event.type === 'queued' || next === RANK.content;
    const needsStart = next > RANK.started && !started;
    if (next < rank || (next === rank && position > 0 && !repeatable) || needsStart) {
      throw new Error(`event ${position} (${event.type}) breaks the grammar of a chat stream`);
    }
    rank = next;
    started ||= event.type === 'started';
  }
  if (rank !== RANK.finished) throw new Error('the chat stream has no finished event');
}
