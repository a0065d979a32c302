import type { Gateway } from '../core/gateway.ts';
import type { Clock } from '../core/ports.ts';
import type { LimitsState } from '../domain/limit.ts';
import type { Principal } from '../domain/principal.ts';

/** The use cases that resolvers call. Authentication is not among them: it happens before an operation exists. */
export type SchemaGateway = Pick<
  Gateway,
  'chat' | 'embed' | 'listModels' | 'getModel' | 'listBackends' | 'limits' | 'administration'
>;

/** What resolvers know of one operation. Whoever serves the schema makes one for each operation. */
export interface GraphQLContext {
  readonly gateway: SchemaGateway;
  /**
   * The caller, with the rights and limits that the key has now, which may change while a subscription runs. Without a
   * valid key nothing is executed.
   */
  readonly principal: Principal;
  /** As shown to the caller; the same for everything that one HTTP request or one WebSocket operation does. */
  readonly requestId: string;
  /** Aborted when the caller leaves or cancels this operation. */
  readonly signal: AbortSignal;
  /** Aborted when the gateway begins to drain, for operations that have no end of their own: it waits for every one. */
  readonly draining: AbortSignal;
  readonly clock: Clock;
  /**
   * Logs an exception that is a mistake of the gateway's, under the operation's request id. Needed only where the
   * exception does not reach the executor: a running subscription answers it with its own last event.
   */
  readonly reportBug: (thrown: unknown) => void;
  /** The limits of a key as of a moment ago, which costs little: see `createSharedLimits`. */
  readonly sharedLimits: (principal: Principal) => Promise<LimitsState>;
  /** The caller's limits as of the latest decision on this operation, for `extensions.rateLimit`. Set by resolvers. */
  rateLimit?: LimitsState;
}
