import type { NextFunction, Request, Response } from 'express';
import type { Gateway } from '../core/gateway.ts';
import type { Clock, Telemetry } from '../core/ports.ts';
import { clientClosed } from '../domain/error.ts';
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

/** What is known of one HTTP request, kept in `res.locals`. */
export interface Locals extends Record<string, unknown> {
  requestId: string;
  startedAt: number;
  /** Aborted with an Error when the client leaves before its answer is complete. */
  signal: AbortSignal;
  principal?: Principal;
}

export type RestRequest = Request<Record<string, string | string[]>, unknown, unknown, unknown, Locals>;
export type RestResponse = Response<unknown, Locals>;
export type Handler = (req: RestRequest, res: RestResponse, next: NextFunction) => unknown;

/** Gives each request its id and its signal. First of all, because the signal is of no use after the first await. */
export function createContext(clock: Clock): Handler {
  return (req, res, next) => {
    res.locals.requestId = requestIdOf(req);
    res.locals.startedAt = clock.now();

    const leaving = new AbortController();
    res.locals.signal = leaving.signal;
    // The request's own `close` comes as soon as its body has been read; only the response's says who left.
    res.once('close', () => {
      if (!res.writableFinished) leaving.abort(clientClosed());
    });
    next();
  };
}

/** The caller. Only for routes behind `requirePrincipal`. */
export function principalOf(res: RestResponse): Principal {
  const { principal } = res.locals;
  if (!principal) throw new Error('a route that needs a principal is not behind authentication');
  return principal;
}
