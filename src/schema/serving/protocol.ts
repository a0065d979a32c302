import { type ExecutionArgs, type ExecutionResult, GraphQLError } from 'graphql';
import { makeServer } from 'graphql-ws';
import type { Gateway } from '../../core/gateway.ts';
import type { Telemetry } from '../../core/ports.ts';
import { clientClosed, toGatewayError } from '../../domain/error.ts';
import type { Principal } from '../../domain/principal.ts';
import { createRequestId } from '../../http/request-id.ts';
import { createCap } from './caps.ts';
import { CLOSE, type Connection } from './connection.ts';
import type { SocketLimits } from './limits.ts';
import type { Operation, Operations, ResultStream } from './operation.ts';
import type { Messages } from './operation-ids.ts';
import type { Params } from './params.ts';
import { encodeFailure, encodeRefusal, formatResult, logBug, refusal } from './refusal.ts';

export interface ProtocolOptions {
  readonly gateway: Pick<Gateway, 'authenticate' | 'watch'>;
  readonly operations: Operations;
  readonly limits: SocketLimits;
  readonly telemetry: Pick<Telemetry, 'log'>;
  /** Once it has aborted nothing new begins: see `hold`. */
  readonly draining: AbortSignal;
}

/** What is known of a socket; `extra` in the terms of graphql-ws. */
export interface Extra {
  readonly connection: Connection;
  readonly messages: Messages;
  /** From the upgrade's `Authorization`, for clients that can send headers. */
  readonly authorization: string | undefined;
  /** Operations that came during a drain, on a socket that others keep open. */
  readonly held: Set<ResultStream>;
  /** Operations whose turn has not come. */
  waiting: number;
  /** As its key is now. */
  principal?: Principal;
}

/** The subprotocol `graphql-transport-ws`, with this gateway's keys and operations. */
export function createProtocol(options: ProtocolOptions) {
  const { limits, telemetry } = options;
  const connect = createConnect(options);
  /** What comes of the operations that graphql-ws has been handed to execute. */
  const begun = new WeakMap<ExecutionArgs, ResultStream>();
  const resultsOf = (args: ExecutionArgs): ResultStream => {
    const results = begun.get(args);
    if (!results) throw new Error('an operation was not prepared');
    return results;
  };

  return makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: limits.initTimeoutMs,
    onConnect: ({ extra, connectionParams }) => connect(extra, connectionParams ?? {}),
    onPing({ extra: { connection } }, payload) {
      if (JSON.stringify(payload ?? {}).length > limits.pingPayload) connection.close(CLOSE.pingTooLarge);
    },
    async onSubscribe({ extra }, id, payload) {
      const requestId = createRequestId();
      try {
        const params = await admit(extra, payload, options);
        // graphql-ws keeps it until the operation ends, and has no more use for it than we have.
        for (const name of Object.keys(payload)) Reflect.deleteProperty(payload, name);
        const { args, results } = begin(extra, params, { id, requestId }, options);
        begun.set(args, results);
        return args;
      } catch (thrown) {
        return asErrors(thrown, requestId, telemetry);
      }
    },
    execute: resultsOf,
    subscribe: resultsOf,
    onNext: (_context, _id, _payload, _args, result) => formatResult(result),
    onError: (_context, _id, _payload, errors) => errors.map(encodeRefusal),
  });
}

/** Finds out whose connection it is, and keeps it for as long as the key holds. */
function createConnect({ gateway, limits }: ProtocolOptions) {
  const perKey = createCap(limits.perKey);

  const identify = async (extra: Extra, params: Readonly<Record<string, unknown>>): Promise<void> => {
    const { connection } = extra;
    const given = params['authorization'] ?? extra.authorization;
    // What is not text is no key.
    const principal = await gateway.authenticate(typeof given === 'string' ? given : undefined);
    if (connection.closing) return;
    if (!perKey.take(principal.keyId)) return connection.close(CLOSE.tooManySockets);
    extra.principal = principal;
    const unwatch = gateway.watch(
      principal,
      (error) => connection.close(CLOSE.forbidden, error),
      (seen) => {
        extra.principal = seen;
      },
    );
    connection.socket.once('close', () => {
      perKey.give(principal.keyId);
      unwatch();
    });
  };

  return async (extra: Extra, params: Readonly<Record<string, unknown>>): Promise<void> => {
    try {
      await identify(extra, params);
    } catch (thrown) {
      const { code } = toGatewayError(thrown);
      if (code === 'internal') throw thrown;
      const isRefusal = code === 'invalid_api_key' || code === 'missing_api_key';
      extra.connection.close(isRefusal ? CLOSE.forbidden : CLOSE.tryAgainLater);
    }
  };
}

/**
 * Waits until it is an operation's turn, as over HTTP: each socket gives its messages a turn of their own, and there may be
 * hundreds of sockets.
 * @throws GraphQLError, GatewayError
 */
async function admit(
  extra: Extra,
  payload: object,
  { operations, limits }: ProtocolOptions,
): Promise<Params> {
  const { connection, held } = extra;
  const underWay = connection.operations.size + held.size + extra.waiting;
  if (underWay >= limits.operations) throw tooManyOperations(limits);
  const params = operations.parse(payload);
  extra.waiting++;
  try {
    await operations.turn(params);
  } finally {
    extra.waiting--;
  }
  // Its operations have been ended by then.
  if (connection.closing) throw clientClosed();
  return params;
}

/** @throws GatewayError, GraphQLError or GraphQLErrors: nothing has been executed. */
function begin(
  extra: Extra,
  params: Params,
  { id, requestId }: { readonly id: string; readonly requestId: string },
  { operations, draining }: ProtocolOptions,
): { readonly args: ExecutionArgs; readonly results: ResultStream } {
  const { connection, messages, held } = extra;
  const leaving = new AbortController();
  const caller = {
    get principal() {
      return principalOf(extra);
    },
    requestId,
    signal: leaving.signal,
  };
  const operation = operations.prepare(params, caller);
  if (draining.aborted) return { args: operation.args, results: hold(held) };
  connection.operations.add(leaving);
  const send = (result: ExecutionResult) => messages.next(id, result);
  const results = runOnDemand(operation, leaving, send, () => {
    connection.operations.delete(leaving);
    // The last message of the operation is still to go out.
    if (draining.aborted) setImmediate(closeIfIdle, connection);
  });
  return { args: operation.args, results };
}

function principalOf({ principal }: Extra): Principal {
  if (!principal) throw new Error('an operation came before its caller was known');
  return principal;
}

/**
 * The results of an operation, which begins when the first is asked for. Every operation looks like a stream to
 * graphql-ws, because a stream is what it lets clients cancel. Leaving it aborts the operation, whatever is awaited.
 *
 * @param send takes what is only to be sent, as the results of a stream are while all goes well. What graphql-ws does for
 * each of them costs as much as to encode it.
 */
function runOnDemand(
  operation: Operation,
  leaving: AbortController,
  send: (result: ExecutionResult) => Promise<void> | undefined,
  onEnd: () => void,
): ResultStream {
  let stream: ResultStream | undefined;
  let single = false;
  let left = false;
  const begin = async (): Promise<IteratorResult<ExecutionResult, undefined>> => {
    const result = await operation.run();
    if (Symbol.asyncIterator in result) {
      stream = result;
      if (!left) return await sendOn(stream);
      await stream.return(undefined);
      return DONE;
    }
    single = true;
    return { done: false, value: result };
  };
  const sendOn = async (source: ResultStream): Promise<IteratorResult<ExecutionResult, undefined>> => {
    for (;;) {
      const result = await source.next();
      if (result.done || result.value.errors) return result;
      const sent = send(result.value);
      if (sent !== undefined) await sent;
    }
  };
  const goOn = () => {
    if (single) return Promise.resolve(DONE);
    return stream ? sendOn(stream) : begin();
  };
  const passOn = (result: IteratorResult<ExecutionResult, undefined>) => {
    if (left) return DONE;
    if (result.done) onEnd();
    return result;
  };
  const results: ResultStream = {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => goOn().then(passOn),
    async return() {
      left = true;
      onEnd();
      leaving.abort(clientClosed());
      await stream?.return(undefined);
      return DONE;
    },
    throw: () => results.return(undefined),
    async [Symbol.asyncDispose]() {
      await results.return(undefined);
    },
  };
  return results;
}

/**
 * The results of an operation that comes during a drain: none, as it is never begun. An error would be its end, while the
 * socket, which others keep open, leads its client nowhere else. Without an answer, the close with 1001 that follows the
 * last of those says that it can be sent again elsewhere, which is what clients then do.
 */
function hold(held: Set<ResultStream>): ResultStream {
  const results: ResultStream = {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => new Promise(() => undefined),
    async return() {
      held.delete(results);
      return DONE;
    },
    throw: () => results.return(undefined),
    async [Symbol.asyncDispose]() {
      await results.return(undefined);
    },
  };
  held.add(results);
  return results;
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** A connection that nobody uses ends when the server does. */
export function closeIfIdle(connection: Connection): void {
  if (connection.operations.size === 0) connection.close(CLOSE.goingAway);
}

function tooManyOperations({ operations }: SocketLimits): GraphQLError {
  return refusal('TOO_MANY_OPERATIONS', `More than ${operations} operations at once on one connection.`);
}

function asErrors(
  thrown: unknown,
  requestId: string,
  telemetry: ProtocolOptions['telemetry'],
): readonly GraphQLError[] {
  if (thrown instanceof GraphQLError) return [thrown];
  if (Array.isArray(thrown) && thrown.every((one) => one instanceof GraphQLError)) return thrown;
  const failure = toGatewayError(thrown);
  if (failure.code === 'internal') logBug(thrown, requestId, telemetry);
  return [encodeFailure(failure, requestId)];
}
