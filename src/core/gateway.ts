import type { ChatRequest, EmbeddingRequest } from '../domain/chat.ts';
import type { ChatEvent, EmbeddingEvent, Numbered } from '../domain/event.ts';
import type { LimitsState } from '../domain/limit.ts';
import type { Model } from '../domain/model.ts';
import type { Principal } from '../domain/principal.ts';
import type { Protocol, UsageRecord } from '../domain/record.ts';
import type { DependencyState } from './ports.ts';
import type { Cancellable } from './stream.ts';

/** What the protocols see of the core: the same few use cases for all of them. */
export interface Gateway {
  /**
   * @param authorization the `Authorization` value, as it came.
   * @throws GatewayError `missing_api_key`, `invalid_api_key` (unknown, revoked and expired alike) or
   * `storage_unavailable`.
   */
  authenticate(authorization: string | undefined): Promise<Principal>;
  /** Runs a chat request through the steps of `chat.ts`. Nothing happens before the first `next()`. */
  chat(request: ChatRequest, caller: Caller): Exchange<ChatEvent>;
  embed(request: EmbeddingRequest, caller: Caller): Exchange<EmbeddingEvent>;
  /**
   * The models that the caller may use and that some backend has, by id.
   * @throws GatewayError `not_permitted` without the scope `models`.
   */
  listModels(principal: Principal): readonly Model[];
  /** @throws GatewayError `model_not_found`, also for a model the caller may not use. */
  getModel(principal: Principal, id: string): Promise<Model>;
  /** Each dependency's state, and whether requests can be served. */
  report(): Report;
}

/** Who asks, and how. */
export interface Caller {
  readonly principal: Principal;
  readonly requestId: string;
  readonly protocol: Protocol;
  readonly operation: UsageRecord['operation'];
  readonly streamed: boolean;
  /** Aborted when the caller leaves. */
  readonly signal: AbortSignal;
}

/** One request under way. */
export interface Exchange<E> {
  /** Unique, opaque; the id of the ledger's row. Protocols show it behind their own prefix. */
  readonly id: string;
  /** The caller's limits as of the decision on this request; undefined before it, and where the key has none. */
  readonly limits: LimitsState | undefined;
  /** Leaving it (`return()`) ends the request at once. */
  readonly events: Cancellable<Numbered<E>>;
}

export interface Report {
  readonly ready: boolean;
  readonly draining: boolean;
  readonly dependencies: readonly DependencyState[];
}
