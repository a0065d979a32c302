import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { GraphQLError, type GraphQLSchema } from 'graphql';
import { createYoga, type Plugin } from 'graphql-yoga';
import type { Gateway } from '../../core/gateway.ts';
import type { Clock, Telemetry } from '../../core/ports.ts';
import { clientClosed, GatewayError, toGatewayError } from '../../domain/error.ts';
import type { Principal } from '../../domain/principal.ts';
import { authorizationOf } from '../../http/authorization.ts';
import { type CorsOrigins, corsHeaders } from '../../http/cors.ts';
import { appendHeaders } from '../../http/header-list.ts';
import { addLimitHeaders, LIMIT_HEADERS } from '../../http/limit-headers.ts';
import { pathOf } from '../../http/path.ts';
import { requestIdOf } from '../../http/request-id.ts';
import { readJson, requireJson } from './body.ts';
import type { ServingLimits } from './limits.ts';
import { type Accepted, EVENT_STREAM, negotiate, wantsPage } from './negotiate.ts';
import type { Operation, Operations } from './operation.ts';
import { createPage } from './page.ts';
import { parseSearch } from './params.ts';
import { encodeFailure, formatResult, logBug, refusal, statusOf } from './refusal.ts';
import { encodeSingle, sendEvents } from './sse.ts';

export interface HttpOptions {
  readonly gateway: Pick<Gateway, 'authenticate' | 'watch'>;
  readonly schema: GraphQLSchema;
  readonly operations: Operations;
  readonly path: string;
  readonly production: boolean;
  /** A key that GraphiQL offers its visitors, where there is one that is public anyway. */
  readonly exampleKey?: string;
  readonly corsOrigins: CorsOrigins;
  readonly maxBodyBytes: number;
  readonly limits: Pick<ServingLimits, 'document' | 'stallMs'>;
  readonly telemetry: Pick<Telemetry, 'log'>;
  readonly clock: Clock;
}

/** What Yoga is handed with a request: everything but the answer is decided by then. */
interface Decided {
  readonly operation: Operation;
  readonly res: ServerResponse;
}

const EXPOSED_HEADERS = ['x-request-id', ...LIMIT_HEADERS, 'retry-after'].join(', ');

/** Less than the minute after which proxies take a silent answer for a dead one. */
const PING_MS = 12_000;

/**
 * GraphQL over HTTP: single results, and streams of them as server-sent events. Whether a request may be executed is
 * decided here, cheapest question first; Yoga then makes a response of a single result.
 */
export function createHttpHandler(options: HttpOptions): RequestListener {
  const { telemetry, clock, limits } = options;
  const streaming = { clock, pingMs: PING_MS, stallMs: limits.stallMs };
  const answerPage = createPage(options.path, options.exampleKey);
  const yoga = createYoga<Decided>({
    schema: options.schema,
    graphqlEndpoint: options.path,
    // Each of these has its one place elsewhere, or is of no use here.
    cors: false,
    graphiql: false,
    landingPage: false,
    batching: false,
    multipart: false,
    maxRequestBodySize: false,
    parserAndValidationCache: false,
    maskedErrors: false,
    logging: false,
    plugins: [createDecisionPlugin()],
  });

  return (req, res) => {
    const requestId = requestIdOf(req);
    const leaving = new AbortController();
    // The request's own `close` comes as soon as its body has been read; only the response's says who left.
    res.once('close', () => {
      if (!res.writableFinished) leaving.abort(clientClosed());
    });
    setStandardHeaders(res, requestId);
    appendHeaders(res, corsHeaders(req, options.corsOrigins, EXPOSED_HEADERS));
    if (req.method === 'OPTIONS') return void res.writeHead(204).end();
    const accepted = negotiate(req.headers.accept);

    const serve = async () => {
      if (isVisit(req, options)) return await answerPage(req, res);
      const { operation, caller } = await decide(req, res, requestId, leaving, accepted, options);
      if (operation.type === 'subscription') follow(res, caller, leaving, options);
      if (operation.type === 'subscription' || accepted.json === undefined) {
        return await sendEvents(res, operation, streaming);
      }
      req.headers.accept = accepted.json;
      // Yoga makes a URL of it, fails where it is none, and answers with the stack. Nothing here depends on it.
      req.headers.host = 'localhost';
      cutWhenUnread(res, options);
      await yoga(req, res, { operation, res });
    };
    serve().catch((thrown: unknown) => {
      const failure = asFailure(thrown);
      if (failure instanceof GatewayError && failure.code === 'internal')
        logBug(thrown, requestId, telemetry);
      refuse(res, failure, accepted, requestId);
    });
  };
}

/** Lets Yoga do what has been decided, and shows the limits as of it. */
function createDecisionPlugin(): Plugin<object, Decided> {
  return {
    onRequestParse: ({ setRequestParser }) => setRequestParser(() => ({ query: '' })),
    onParams: ({ context, setParamsHandler }) =>
      setParamsHandler(async () => {
        const { operation, res } = context;
        const result = await operation.run();
        const headers: string[] = [];
        addLimitHeaders(headers, operation.limits);
        if (!res.headersSent) appendHeaders(res, headers);
        return result;
      }),
  };
}

/** @throws GatewayError, GraphQLError or GraphQLErrors: nothing has been executed. */
async function decide(
  req: IncomingMessage,
  res: ServerResponse,
  requestId: string,
  leaving: AbortController,
  accepted: Accepted,
  { gateway, operations, path, maxBodyBytes, limits }: HttpOptions,
): Promise<{ readonly operation: Operation; readonly caller: { principal: Principal } }> {
  const [pathname = '', search = ''] = (req.url ?? '').split(/\?(.*)/s);
  if (pathname !== path) throw new GatewayError('not_found', 'There is nothing at this path.');
  if (req.method !== 'GET' && req.method !== 'POST') {
    res.setHeader('allow', 'GET, POST');
    throw new GatewayError('method_not_allowed', 'GraphQL is served by GET and POST.');
  }
  if (!accepted.json && !accepted.stream) {
    const message = `Accept application/graphql-response+json, application/json or ${EVENT_STREAM}.`;
    throw refusal('NOT_ACCEPTABLE', message, 406);
  }
  if (req.method === 'POST') requireJson(req, maxBodyBytes);
  // `Authorization` is the only carrier. A page of a foreign origin cannot send it without the browser's leave, so it
  // is also what protects from forged requests, GET included.
  const principal = await gateway.authenticate(authorizationOf(req));
  const raw =
    req.method === 'POST'
      ? await readJson(req, maxBodyBytes, limits.document)
      : parseSearch(new URLSearchParams(search), limits.document);
  const params = operations.parse(raw);
  await operations.turn(params);
  // Who has left meanwhile gets nothing begun: what would end it, the response's `close`, has been.
  leaving.signal.throwIfAborted();
  const caller = { principal, requestId, signal: leaving.signal };
  const operation = operations.prepare(params, caller);
  requireMethod(req, res, operation);
  if (operation.type === 'subscription' && !accepted.stream) {
    throw refusal('NOT_ACCEPTABLE', `A subscription is answered as ${EVENT_STREAM}. Accept that.`, 406);
  }
  return { operation, caller };
}

function requireMethod(req: IncomingMessage, res: ServerResponse, { type }: Operation): void {
  if (req.method !== 'GET' || type === 'query') return;
  res.setHeader('allow', 'POST');
  throw new GatewayError('method_not_allowed', `A ${type} needs a POST request.`);
}

/** What a stream needs beside its results: an end when its key ends. */
function follow(
  res: ServerResponse,
  caller: { principal: Principal },
  leaving: AbortController,
  { gateway }: HttpOptions,
): void {
  const unwatch = gateway.watch(
    caller.principal,
    (error) => leaving.abort(error),
    (seen) => {
      caller.principal = seen;
    },
  );
  res.once('close', unwatch);
}

/**
 * Ends a single result whose reader does not read. Yoga does not end it before all of it has been taken, so that for the
 * server it has no end to wait for.
 */
function cutWhenUnread(res: ServerResponse, { clock, limits }: HttpOptions): void {
  let drained = true;
  let cancelTimer = () => {};
  const look = () => {
    if (res.writableNeedDrain && !drained) return void res.destroy();
    drained = !res.writableNeedDrain;
    cancelTimer = clock.after(limits.stallMs, look);
  };
  look();
  res.on('drain', () => {
    drained = true;
  });
  res.once('close', () => cancelTimer());
}

/**
 * A browser's visit, which needs no key. In production it is a request like any other. GraphiQL writes what is being
 * edited into the page's address, as `?query=`.
 */
function isVisit({ method, url = '', headers }: IncomingMessage, { path, production }: HttpOptions): boolean {
  return !production && method === 'GET' && pathOf(url) === path && wantsPage(headers.accept);
}

function setStandardHeaders(res: ServerResponse, requestId: string): void {
  res.setHeader('x-request-id', requestId);
  res.setHeader('x-content-type-options', 'nosniff');
  res.setHeader('x-frame-options', 'DENY');
  res.setHeader('referrer-policy', 'no-referrer');
  res.setHeader('cache-control', 'no-store');
  res.setHeader('vary', 'Accept');
}

type Failure = GatewayError | readonly GraphQLError[];

function asFailure(thrown: unknown): Failure {
  if (thrown instanceof GraphQLError) return [thrown];
  const isList = Array.isArray(thrown) && thrown.every((one) => one instanceof GraphQLError);
  return isList ? thrown : toGatewayError(thrown);
}

/** The end of every request that was not executed, in the body that the specification describes. */
function refuse(res: ServerResponse, failure: Failure, { json, stream }: Accepted, requestId: string): void {
  if (res.headersSent || res.destroyed) return void res.destroy();
  const errors = failure instanceof GatewayError ? [encodeFailure(failure, requestId)] : failure;
  const status = failure instanceof GatewayError ? statusOf(failure) : statusFor(failure, json);
  if (failure instanceof GatewayError) {
    if (status === 401) res.setHeader('www-authenticate', 'Bearer');
    if (status === 503)
      res.setHeader('retry-after', String(Math.ceil((failure.retryAfterMs ?? 1000) / 1000)));
  }
  res.statusCode = status;
  // Who follows streams only gets the refusal as the one event of a stream, where it is a GraphQL response at all.
  if (status === 200 && stream && json === undefined) {
    res.setHeader('content-type', EVENT_STREAM);
    return void res.end(encodeSingle({ errors }));
  }
  res.setHeader('content-type', `${json ?? 'application/json'}; charset=utf-8`);
  res.end(JSON.stringify(formatResult({ errors })));
}

/** `application/graphql-response+json` has statuses of its own; to all others a GraphQL error is a success of HTTP. */
function statusFor(errors: readonly GraphQLError[], json: Accepted['json']): number {
  const statuses = errors.map(({ extensions }) => {
    const { http } = extensions;
    const isHttp = typeof http === 'object' && http !== null && 'status' in http && 'spec' in http;
    if (!isHttp || typeof http.status !== 'number') return 400;
    return http.spec === true && json !== 'application/graphql-response+json' ? 200 : http.status;
  });
  return Math.max(...statuses);
}
