import type { IncomingMessage, ServerResponse } from 'node:http';
import type { NextFunction } from 'express';
import type { Caller, Gateway } from '../core/gateway.ts';
import type { Clock, Telemetry } from '../core/ports.ts';
import { type Abortable, Cancellation } from '../core/signal.ts';
import { clientClosed } from '../domain/error.ts';
import type { LimitsState } from '../domain/limit.ts';
import type { Principal } from '../domain/principal.ts';
import { requestIdOf } from '../http/request-id.ts';

/** The use cases that REST offers. */
export type RestGateway = Pick<
  Gateway,
  'authenticate' | 'chat' | 'embed' | 'listModels' | 'getModel' | 'report'
>;

/** What the façade is given by whoever composes it. */
export interface RestOptions {
  readonly gateway: RestGateway;
  readonly config: RestConfig;
  readonly telemetry: Pick<Telemetry, 'log'>;
  /** The metrics in a format of Prometheus's. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly clock: Clock;
  /** How long a stream's status waits for the first event, so that early failures keep theirs. 5,000 by default. */
  readonly holdBackMs?: number;
  /** Silence after which a stream says that it is alive. 15,000 by default. */
  readonly pingMs?: number;
  /** How long a client may leave a stream unread before it is cut. 30,000 by default. */
  readonly stallMs?: number;
}

export interface RestConfig {
  readonly maxBodyBytes: number;
  /** `*`, or the exact origins that browsers may call from. */
  readonly corsOrigins: '*' | readonly string[];
  /** Leaves out what is only meant for trying out: `/cors-test`. */
  readonly production: boolean;
  /** Lists parameters that were not understood in `x-ignored-parameters`. */
  readonly debug: boolean;
  readonly version: string;
  /** This replica's name, as `/health` shows it. */
  readonly replica: string;
  /** Set where no real Ollama is behind the gateway. */
  readonly upstream?: 'simulator';
}

/** What is known of one HTTP request. */
export interface Locals {
  readonly requestId: string;
  readonly clock: Clock;
  readonly startedAt: number;
  /** Aborted with an Error when the client leaves before its answer is complete. */
  readonly signal: Abortable;
  principal?: Principal;
  /** What is being answered. Its head shows the limits as of the decision, whatever the outcome. */
  source?: { readonly limits: LimitsState | undefined };
  /** Headers of the answer so far that Node has yet to look at, names and values in turn. Empty once they are sent. */
  headers: string[];
}

/** Node's own messages with what the router and the handlers before this one have added. */
export type RestRequest = IncomingMessage & {
  readonly url: string;
  readonly params: Readonly<Record<string, string | string[]>>;
  /** Where the router would go on. */
  next?: NextFunction | undefined;
};
export type RestResponse = ServerResponse & { readonly locals: Locals };
export type Handler = (req: RestRequest, res: RestResponse, next: NextFunction) => unknown;

/** What a request begins with. First of all, because its signal is of no use after the first await. */
export function createLocals(req: IncomingMessage, res: ServerResponse, clock: Clock): Locals {
  const leaving = new Cancellation();
  // The request's own `close` comes as soon as its body has been read; only the response's says who left.
  res.on('close', () => {
    if (!res.writableFinished) leaving.abort(clientClosed());
  });
  const requestId = requestIdOf(req);
  return {
    requestId,
    clock,
    startedAt: clock.now(),
    signal: leaving,
    headers: ['x-request-id', requestId],
  };
}

/** The caller. Only for routes behind `requirePrincipal`. */
export function principalOf(res: RestResponse): Principal {
  const { principal } = res.locals;
  if (!principal) throw new Error('a route that needs a principal is not behind authentication');
  return principal;
}

/** Who asks, and how, as the core wants to know it. Only for routes behind `requirePrincipal`. */
export function callerOf(res: RestResponse, operation: Caller['operation'], streamed: boolean): Caller {
  return {
    principal: principalOf(res),
    requestId: res.locals.requestId,
    protocol: 'rest',
    operation,
    streamed,
    signal: res.locals.signal,
  };
}
