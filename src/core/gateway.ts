import type { ChatRequest, EmbeddingRequest, InferenceRequest } from '../domain/chat.ts';
import { estimatePromptTokens } from '../domain/estimate.ts';
import type { ChatEvent, EmbeddingEvent } from '../domain/event.ts';
import type { LimitsState } from '../domain/limit.ts';
import { type Backend, isModelAllowed, type Model } from '../domain/model.ts';
import type { Principal } from '../domain/principal.ts';
import type { Protocol, UsageRecord } from '../domain/record.ts';
import { servedModels } from '../domain/routing.ts';
import type { Administration } from './administration.ts';
import type { Authenticator } from './authenticate.ts';
import { type Call, CallNotes, type Handler, type InferenceEvent } from './call.ts';
import type { ChatProvider, Clock, DependencyState, Limiter } from './ports.ts';
import { type Abortable, Cancellation, forwardAbort } from './signal.ts';
import { requireScope } from './steps/authorize.ts';
import { modelNotFound, noBackend, resolveModel } from './steps/resolve.ts';
import { type Cancellable, cancellable } from './stream.ts';

/** What the protocols see of the core: the same few use cases for all of them. */
export interface Gateway {
  /**
   * At once for a key that is cached.
   * @param authorization the `Authorization` value, as it came.
   * @throws GatewayError `missing_api_key`, `invalid_api_key` (unknown, revoked and expired alike) or
   * `storage_unavailable`.
   */
  authenticate(authorization: string | undefined): Principal | Promise<Principal>;
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
  /** Every backend as last seen: which models it has, and which are in memory. Needs the scope `models`. */
  listBackends(principal: Principal): readonly Backend[];
  /** The caller's limits as they stand. */
  limits(principal: Principal): Promise<LimitsState>;
  /** Keys and the ledger, within the caller's reach. */
  readonly administration: Administration;
  /** See `Authenticator.watch`: for what stays open between requests. */
  readonly watch: Authenticator['watch'];
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
  /** That the answer, though streamed, is also kept in memory until its end, which what is not streamed always is. */
  readonly isKept?: boolean;
  /** Aborted when the caller leaves. */
  readonly signal: Abortable;
}

/** One request under way. */
export interface Exchange<E> {
  /** Unique, opaque; the id of the ledger's row. Protocols show it behind their own prefix. */
  readonly id: string;
  /** The caller's limits as of the decision on this request; undefined before it, and where the key has none. */
  readonly limits: LimitsState | undefined;
  /** Leaving it (`return()`) ends the request at once. */
  readonly events: Cancellable<E>;
}

export interface Report {
  readonly ready: boolean;
  readonly draining: boolean;
  readonly dependencies: readonly DependencyState[];
}

export interface GatewayDependencies {
  readonly authenticator: Authenticator;
  readonly administration: Administration;
  readonly handler: Handler;
  readonly limiter: Pick<Limiter, 'peek'>;
  readonly provider: ChatProvider;
  readonly clock: Clock;
  readonly createId: () => string;
  readonly report: () => Report;
  /** Ends every request that still runs when it aborts, with its reason. */
  readonly shutdown: Abortable;
}

export function createGateway(deps: GatewayDependencies): Gateway {
  const { authenticator, administration, handler, limiter, provider, clock, createId, report } = deps;
  const shutdown = new Cancellation();
  forwardAbort(deps.shutdown, shutdown);

  function run(request: InferenceRequest, caller: Caller): Exchange<InferenceEvent> {
    const notes = new CallNotes(estimatePromptTokens(request));
    const id = createId();
    const startedAt = clock.now();
    const ask = (signal: Abortable, end: Call['end']) =>
      handler(request, createCall(caller, { id, startedAt, notes, signal, end }));
    const events = cancellable(ask, caller.signal, shutdown);
    return new RunningExchange(id, notes, events);
  }

  return {
    authenticate: authenticator.authenticate,
    // The provider answers each kind of request with its own kind of events.
    chat: (request, caller) => run(request, caller) as Exchange<ChatEvent>,
    embed: (request, caller) => run(request, caller) as Exchange<EmbeddingEvent>,
    listModels(principal) {
      requireScope(principal, 'models');
      if (!provider.backends().some((backend) => backend.healthy)) throw noBackend();
      const models = [...servedModels(provider.backends()).values()];
      return models
        .filter((model) => isModelAllowed(principal.models, model.id))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
    },
    async getModel(principal, id) {
      requireScope(principal, 'models');
      if (!isModelAllowed(principal.models, id)) throw modelNotFound(id);
      return await resolveModel(provider, id);
    },
    listBackends(principal) {
      requireScope(principal, 'models');
      return provider.backends();
    },
    limits: (principal) => limiter.peek(principal.keyId, principal.limits),
    administration,
    watch: authenticator.watch,
    report,
  };
}

/** With every field there will ever be, so that the copies that steps make of it look alike to the engine. */
function createCall(
  { principal, requestId, protocol, operation, streamed, isKept = false }: Caller,
  { id, startedAt, notes, signal, end }: Pick<Call, 'id' | 'startedAt' | 'notes' | 'signal' | 'end'>,
): Call {
  return {
    id,
    requestId,
    principal,
    protocol,
    operation,
    streamed,
    isKept,
    startedAt,
    signal,
    end,
    onRead: undefined,
    backendId: '',
    notes,
  };
}

class RunningExchange implements Exchange<InferenceEvent> {
  readonly id: string;
  readonly events: Cancellable<InferenceEvent>;
  readonly #notes: CallNotes;

  constructor(id: string, notes: CallNotes, events: Cancellable<InferenceEvent>) {
    this.id = id;
    this.events = events;
    this.#notes = notes;
  }

  get limits(): LimitsState | undefined {
    return this.#notes.limits;
  }
}
