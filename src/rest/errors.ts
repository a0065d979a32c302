import type { Telemetry } from '../core/ports.ts';
import { type ErrorCode, GatewayError, placeOf, toGatewayError } from '../domain/error.ts';
import type { HeaderList } from '../http/header-list.ts';
import type { Locals, RestResponse } from './context.ts';
import { sendJson } from './send.ts';

/** OpenAI's body of every failure. All four keys are always there: the SDKs read them without asking. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export type ParameterFault =
  | 'missing_required_parameter'
  | 'invalid_type'
  | 'invalid_value'
  | 'unsupported_value'
  | 'integer_below_min_value'
  | 'integer_above_max_value'
  | 'decimal_below_min_value'
  | 'decimal_above_max_value'
  | 'empty_string'
  | 'empty_array'
  | 'string_above_max_length'
  | 'array_above_max_length';

/** An `invalid_request` that says in OpenAI's vocabulary what is wrong with the field. */
export class ParameterError extends GatewayError {
  readonly fault: ParameterFault;

  constructor(fault: ParameterFault, param: string, message: string) {
    super('invalid_request', message, { param });
    this.fault = fault;
  }
}

interface Wire {
  readonly status: number;
  readonly type: 'invalid_request_error' | 'server_error' | 'requests';
  readonly code: string | null;
}

/** How each failure looks in OpenAI's terms. The only such table: a new code does not compile before it is here. */
const WIRE: Readonly<Record<ErrorCode, Wire>> = {
  invalid_request: { status: 400, type: 'invalid_request_error', code: null },
  unsupported_parameter: { status: 400, type: 'invalid_request_error', code: 'unsupported_parameter' },
  capability_missing: { status: 400, type: 'invalid_request_error', code: 'capability_missing' },
  context_length_exceeded: { status: 400, type: 'invalid_request_error', code: 'context_length_exceeded' },
  missing_api_key: { status: 401, type: 'invalid_request_error', code: null },
  invalid_api_key: { status: 401, type: 'invalid_request_error', code: 'invalid_api_key' },
  not_permitted: { status: 403, type: 'invalid_request_error', code: 'insufficient_permissions' },
  model_not_found: { status: 404, type: 'invalid_request_error', code: 'model_not_found' },
  not_found: { status: 404, type: 'invalid_request_error', code: null },
  method_not_allowed: { status: 405, type: 'invalid_request_error', code: 'method_not_supported' },
  body_too_large: { status: 413, type: 'invalid_request_error', code: 'request_too_large' },
  unsupported_media_type: { status: 415, type: 'invalid_request_error', code: 'unsupported_media_type' },
  client_closed: { status: 499, type: 'invalid_request_error', code: 'client_closed' },
  rate_limited: { status: 429, type: 'requests', code: 'rate_limit_exceeded' },
  request_too_large: { status: 429, type: 'requests', code: 'rate_limit_exceeded' },
  internal: { status: 500, type: 'server_error', code: null },
  upstream_failed: { status: 502, type: 'server_error', code: 'upstream_failed' },
  upstream_incomplete: { status: 502, type: 'server_error', code: 'upstream_incomplete' },
  upstream_invalid_output: { status: 502, type: 'server_error', code: 'upstream_invalid_output' },
  upstream_unavailable: { status: 503, type: 'server_error', code: 'upstream_unavailable' },
  upstream_busy: { status: 503, type: 'server_error', code: 'upstream_busy' },
  storage_unavailable: { status: 503, type: 'server_error', code: 'storage_unavailable' },
  shutting_down: { status: 503, type: 'server_error', code: 'shutting_down' },
  upstream_timeout: { status: 504, type: 'server_error', code: 'upstream_timeout' },
};

/** What to wait where the failure itself does not know better. */
const DEFAULT_RETRY_AFTER_MS = 1000;

/** Told to wait longer than this, the official SDK for Node does not wait at all: it tries again at once, in vain. */
const MAX_RETRY_AFTER_MS = 60_000;

export function encodeError(error: GatewayError): ErrorBody {
  const wire = WIRE[error.code];
  const isTokenLimit = wire.type === 'requests' && error.limit === 'tokens';
  return {
    error: {
      message: error.message,
      type: isTokenLimit ? 'tokens' : wire.type,
      param: paramOf(error) ?? null,
      code: error instanceof ParameterError ? error.fault : wire.code,
    },
  };
}

/** The field at fault. Too long a conversation is the messages' fault, whoever found out. */
export function paramOf({ code, param }: GatewayError): string | undefined {
  return param ?? (code === 'context_length_exceeded' ? 'messages' : undefined);
}

/**
 * A failure with the name that the operation has for the field at fault, where that is not the one in chat completions,
 * which the core uses.
 */
export function inTermsOf(fields: Readonly<Record<string, string>>, error: GatewayError): GatewayError {
  // Messages and what is in their place are not counted alike, so the place within them is of no use.
  const param = paramOf(error)?.replace(/^messages\[.*/, 'messages');
  const name = param !== undefined && Object.hasOwn(fields, param) ? fields[param] : undefined;
  return name === undefined ? error : error.renamed(name);
}

/** For `catch`: throws on whatever it is. */
export function throwInTermsOf(fields: Readonly<Record<string, string>>): (thrown: unknown) => never {
  return (thrown) => {
    throw thrown instanceof GatewayError ? inTermsOf(fields, thrown) : thrown;
  };
}

/** The headers by which the official SDKs decide whether and when to try again. */
export function retryHeaders(error: GatewayError): HeaderList {
  const { status } = WIRE[error.code];
  if (status === 401) return ['WWW-Authenticate', 'Bearer'];
  const isRetriedByDefault = status === 429 || status >= 500;
  // Another try after a timeout may well succeed; but whoever has waited out a deadline decides on that, not the SDK.
  const isRetryable = error.retryable && error.code !== 'upstream_timeout';
  if (!isRetryable) return isRetriedByDefault ? ['x-should-retry', 'false'] : [];
  if (error.retryAfterMs === undefined && status !== 429 && status !== 503) return [];
  const ms = Math.max(1, Math.ceil(error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS));
  const headers = ['retry-after', String(Math.ceil(ms / 1000)), 'retry-after-ms', String(ms)];
  return ms > MAX_RETRY_AFTER_MS ? [...headers, 'x-should-retry', 'false'] : headers;
}

/** Ends every request that has failed: with an answer, or without one where that has begun already. */
export function createFailure(telemetry: Pick<Telemetry, 'log'>) {
  return (thrown: unknown, res: RestResponse): void => {
    if (res.headersSent) return void res.destroy();
    const error = decodeHttpError(thrown);
    if (error.code === 'internal') logBug(thrown, res.locals, telemetry);
    // Nobody is left to answer.
    if (res.destroyed) return;
    sendJson(res, encodeError(error), WIRE[error.code].status, retryHeaders(error));
  };
}

/**
 * Logs what is a mistake of this façade; the core has logged its own failures by then. An exception's message may quote
 * the content it stumbled over, so only its name and place are kept.
 */
export function logBug(
  thrown: unknown,
  { requestId }: Pick<Locals, 'requestId'>,
  telemetry: Pick<Telemetry, 'log'>,
): void {
  if (thrown instanceof GatewayError) return;
  const isError = thrown instanceof Error;
  telemetry.log('error', 'the REST façade failed to handle a request', {
    request_id: requestId,
    error: isError ? thrown.name : typeof thrown,
    at: isError ? placeOf(thrown) : undefined,
  });
}

/** What Express throws, as ours. Its messages may quote the path, so none is passed on. */
export function decodeHttpError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError || typeof thrown !== 'object' || thrown === null) {
    return toGatewayError(thrown);
  }
  // The router's only failure of its own: a path whose percent-encoding is broken.
  if (thrown instanceof URIError || ('status' in thrown && thrown.status === 400)) {
    return new GatewayError('invalid_request', 'The path of the request is malformed.', { cause: thrown });
  }
  return toGatewayError(thrown);
}
