import {
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLSchema,
  type OperationTypeNode,
} from 'graphql';
import type { Clock, Telemetry } from '../../core/ports.ts';
import { GatewayError, toGatewayError } from '../../domain/error.ts';
import type { LimitsState } from '../../domain/limit.ts';
import type { Principal } from '../../domain/principal.ts';
import { createTurns } from '../../http/turns.ts';
import type { GraphQLContext, SchemaGateway } from '../context.ts';
import { createSharedLimits } from '../limits.ts';
import { type Results, subscribe } from '../subscribe.ts';
import { createDocuments } from './documents.ts';
import type { ServingLimits } from './limits.ts';
import { type Params, parseParams } from './params.ts';
import type { PersistedDocuments } from './persisted.ts';
import { encodeFailure, logBug, requestError, withoutValues } from './refusal.ts';

/** Who asks for an operation. */
export interface OperationCaller {
  /** As the key is now: whoever keeps a key in view gives a getter. */
  readonly principal: Principal;
  readonly requestId: string;
  /** Aborted when the caller leaves, or when the operation may not go on. */
  readonly signal: AbortSignal;
}

/** An operation that has passed every check and has not begun. */
export interface Operation {
  readonly type: `${OperationTypeNode}`;
  /** What names it to a library; it is executed by `run`. */
  readonly args: ExecutionArgs;
  /** Once. Never rejects: a failure is a result. */
  run(): Promise<ExecutionResult | ResultStream>;
  /** The limits as of the latest decision, if there was one. */
  readonly limits: LimitsState | undefined;
}

export type ResultStream = AsyncGenerator<ExecutionResult, undefined, undefined>;

type Iteration = IteratorResult<ExecutionResult, undefined>;

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

export interface OperationsOptions {
  readonly gateway: SchemaGateway;
  readonly schema: GraphQLSchema;
  readonly limits: Pick<ServingLimits, 'document'>;
  readonly persisted: PersistedDocuments;
  readonly production: boolean;
  /** As for `GraphQLContext`. */
  readonly draining: AbortSignal;
  readonly telemetry: Pick<Telemetry, 'log'>;
  readonly clock: Clock;
}

export type Operations = ReturnType<typeof createOperations>;

/** What every transport does with a request: the same checks, the same execution, the same failures. */
export function createOperations(options: OperationsOptions) {
  const { gateway, schema, limits, persisted, production, draining, clock } = options;
  const takeTurn = createTurns(1);
  const sharedLimits = createSharedLimits(gateway, clock);
  const documents = createDocuments({
    schema,
    limits: limits.document,
    persisted,
    openToView: !production,
  });

  return {
    /** @throws GraphQLError `BAD_REQUEST`. */
    parse: (raw: unknown): Params => parseParams(raw),

    /**
     * Resolves when it is a request's turn to be prepared: at once where its document is known, else when no other
     * is looked at in the same turn of the event loop.
     */
    async turn(params: Params): Promise<void> {
      if (!documents.isKnown(params)) await new Promise<void>(takeTurn);
    },

    /** @throws GraphQLError, or an array of them: nothing has been executed. */
    prepare(params: Params, caller: OperationCaller): Operation {
      const { document, operation, variables } = documents.prepare(params);
      const context: GraphQLContext = {
        gateway,
        get principal() {
          return caller.principal;
        },
        requestId: caller.requestId,
        signal: caller.signal,
        draining,
        clock,
        sharedLimits,
        reportBug: (thrown) => logBug(thrown, caller.requestId, options.telemetry),
      };
      const args: ExecutionArgs = {
        schema,
        document,
        contextValue: context,
        hideSuggestions: production,
        ...(operation.name && { operationName: operation.name.value }),
      };
      // Not kept by what lasts as long as a subscription: a prompt may be megabytes of images.
      let variableValues: Params['variables'] | undefined = variables;
      return {
        type: operation.operation,
        args,
        get limits() {
          return context.rateLimit;
        },
        run() {
          const whole = { ...args, ...(variableValues && { variableValues }) };
          variableValues = undefined;
          return run(operation.operation, whole, context);
        },
      };
    },
  };
}

async function run(
  type: `${OperationTypeNode}`,
  args: ExecutionArgs,
  context: GraphQLContext,
): Promise<ExecutionResult | ResultStream> {
  try {
    // A subscription is left by its iterator; only of a list of mutations are some still to be begun.
    const result =
      type === 'subscription'
        ? await subscribe(args)
        : await execute({ ...args, abortSignal: context.signal });
    return Symbol.asyncIterator in result ? encodeStream(result, context) : encodeResult(result, context);
  } catch (thrown) {
    return encodeThrown(thrown, context);
  }
}

/**
 * The results of a subscription as clients get them. Not a generator, because a generator cannot be left while it
 * awaits: here `return()` reaches the resolver's stream at once.
 */
function encodeStream(source: Results, context: GraphQLContext): ResultStream {
  let shown: LimitsState | undefined;
  let closed = false;

  const encode = (result: Iteration): Iteration => {
    if (result.done || closed) return DONE;
    const isNews = context.rateLimit !== shown;
    shown = context.rateLimit;
    if (result.value.errors === undefined && !isNews) return result;
    return { done: false, value: encodeResult(result.value, context, isNews) };
  };
  const encodeEnd = (thrown: unknown): Iteration => {
    if (closed) return DONE;
    closed = true;
    return { done: false, value: encodeThrown(thrown, context) };
  };

  const stream: ResultStream = {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => (closed ? Promise.resolve(DONE) : source.next().then(encode, encodeEnd)),
    async return() {
      closed = true;
      await source.return();
      return DONE;
    },
    async throw() {
      return await stream.return(undefined);
    },
    async [Symbol.asyncDispose]() {
      await stream.return(undefined);
    },
  };
  return stream;
}

function encodeResult(result: ExecutionResult, context: GraphQLContext, withLimits = true): ExecutionResult {
  const { errors, data, extensions } = result;
  const { rateLimit } = context;
  const isRequestError = data === undefined;
  const shown = { ...extensions, ...(withLimits && rateLimit && { rateLimit: encodeLimits(rateLimit) }) };
  return {
    ...(errors && { errors: errors.map((error) => encodeError(error, isRequestError, context)) }),
    ...(data !== undefined && { data }),
    ...(Object.keys(shown).length > 0 && { extensions: shown }),
  };
}

/** As the schema's `Limits` has it. */
function encodeLimits(limits: LimitsState) {
  return { ...limits, mode: limits.mode === 'exact' ? 'EXACT' : 'DEGRADED' };
}

function encodeThrown(thrown: unknown, context: GraphQLContext): ExecutionResult {
  // Where the caller has left, what is thrown is only the echo of that.
  const cause = context.signal.aborted ? context.signal.reason : thrown;
  const error = cause instanceof GraphQLError ? cause : new GraphQLError('', { cause });
  return encodeResult({ errors: [error] }, context);
}

/**
 * What resolvers mean to say has a code, and what graphql-js has to say about the request has a place in the document
 * or is about its variables. Everything else is a mistake of the gateway's, of which the caller learns nothing.
 */
function encodeError(error: GraphQLError, isRequestError: boolean, context: GraphQLContext): GraphQLError {
  const cause = causeOf(error);
  if (cause instanceof GraphQLError) {
    if (typeof error.extensions['code'] === 'string') return error;
    if (typeof cause.extensions['code'] === 'string') return located(cause, error);
    if (isRequestError && error.path === undefined) return asVariableError(error);
    // Raised for an argument, which stands in the document; what a scalar cannot serialise does not.
    if (cause.nodes !== undefined && cause !== error) {
      const refused = requestError('BAD_USER_INPUT', withoutValues(cause.message));
      return located(isRequestError ? refused : withoutStatus(refused), error);
    }
  }
  const failure = cause instanceof GatewayError ? cause : toGatewayError(cause);
  if (failure.code === 'internal') context.reportBug(cause);
  return located(encodeFailure(failure, context.requestId), error);
}

function causeOf(error: GraphQLError): unknown {
  return error.originalError ?? error.cause ?? error;
}

/** An error in the place of another. */
function located({ message, extensions }: GraphQLError, place: GraphQLError): GraphQLError {
  return new GraphQLError(message, {
    extensions,
    ...(place.nodes && { nodes: place.nodes }),
    ...(place.path && { path: place.path }),
  });
}

/** An error beside data: other fields have been executed, so it does not make the whole request a bad one. */
function withoutStatus({ message, extensions: { http: _, ...extensions } }: GraphQLError): GraphQLError {
  return new GraphQLError(message, { extensions });
}

function asVariableError(error: GraphQLError): GraphQLError {
  return requestError('BAD_USER_INPUT', withoutValues(error.message), {
    ...(error.nodes && { nodes: error.nodes }),
  });
}
