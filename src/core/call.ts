import type { InferenceRequest } from '../domain/chat.ts';
import type { GatewayError } from '../domain/error.ts';
import type { ChatEvent, EmbeddingEvent, Finished } from '../domain/event.ts';
import type { LimitsState } from '../domain/limit.ts';
import type { Principal } from '../domain/principal.ts';
import type { Protocol, UsageRecord } from '../domain/record.ts';
import type { Usage } from '../domain/usage.ts';
import type { Abortable } from './signal.ts';

export type InferenceEvent = ChatEvent | EmbeddingEvent;

/** Answers one request. Nothing happens before the first `next()`; failures are thrown as GatewayError. */
export type Handler = (request: InferenceRequest, call: Call) => AsyncIterable<readonly InferenceEvent[]>;

/** One concern around every request. Steps are composed in one list, in `chat.ts`. */
export type Step = (next: Handler) => Handler;

/** One request on its way through the steps. */
export interface Call {
  readonly id: string;
  readonly requestId: string;
  readonly principal: Principal;
  readonly protocol: Protocol;
  readonly operation: UsageRecord['operation'];
  readonly streamed: boolean;
  /** See `Caller`. */
  readonly isKept: boolean;
  readonly startedAt: number;
  /** Ends this call, or the part of it that a step has narrowed it to. */
  readonly signal: Abortable;
  /** Ends the whole call, for this reason. */
  readonly end: (reason: GatewayError) => void;
  /** Whoever waits for the backend is told by this that something has come of it, be it no event. */
  readonly onRead: (() => void) | undefined;
  /** Where the route has sent it; empty before. */
  readonly backendId: string;
  readonly notes: CallNotes;
}

/**
 * What is learned about a call while it runs, for the ledger, the limits and the headers. The one mutable thing in the
 * pipeline: shared by all steps, written as events pass.
 */
export class CallNotes {
  /** The caller's limits as of the decision to admit. */
  limits: LimitsState | undefined;
  /** The model's full id, once resolved. */
  model: string | undefined;
  /** Where it was last sent. */
  backend: string | undefined;
  firstTokenAt: number | undefined;
  finished: Finished | undefined;
  /** Events with output so far, and what is still to become one: about one a token, as Ollama sends a line a token. */
  outputs = 0;
  /** Tokens of the prompt, as guessed before any model has counted them. */
  readonly promptEstimate: number;

  constructor(promptEstimate: number) {
    this.promptEstimate = promptEstimate;
  }

  see(batch: readonly InferenceEvent[], now: number): void {
    for (const event of batch) {
      switch (event.type) {
        case 'content':
        case 'reasoning':
        case 'toolCall':
        case 'embedded':
          this.outputs++;
          this.firstTokenAt ??= now;
          break;
        case 'finished':
          this.finished = event;
          break;
        case 'queued':
        case 'started':
        case 'loading':
          break;
      }
    }
  }

  /**
   * The backend's counts where it gave them. Where it did not, as for an answer that was cut short, what was produced
   * is counted here, the prompt at its estimate; where nothing was produced, nothing was used but what the backend says.
   */
  usage(): Usage {
    const told = this.finished?.usage ?? {};
    const { promptTokens = this.promptEstimate, completionTokens = this.outputs } = told;
    const isTold = promptTokens === told.promptTokens && completionTokens === told.completionTokens;
    if (isTold || this.outputs === 0 || this.finished?.reasons.length === 0) return told;
    return { ...told, promptTokens, completionTokens, estimated: true };
  }
}
