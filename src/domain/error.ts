/**
 * Who owns a failure, which decides how loud it is: the caller's mistakes and limits are answered and counted, the
 * upstream's are watched, the gateway's own are bugs or outages.
 */
export type ErrorOwner = 'caller' | 'limit' | 'upstream' | 'gateway';

interface ErrorKind {
  readonly owner: ErrorOwner;
  /** Whether the same request, sent again later, may succeed. */
  readonly retryable: boolean;
}

/** The catalogue: every failure the gateway can answer with. Each protocol maps each code, exhaustively, in one place. */
export const ERRORS = {
  invalid_request: { owner: 'caller', retryable: false },
  unsupported_parameter: { owner: 'caller', retryable: false },
  capability_missing: { owner: 'caller', retryable: false },
  context_length_exceeded: { owner: 'caller', retryable: false },
  body_too_large: { owner: 'caller', retryable: false },
  unsupported_media_type: { owner: 'caller', retryable: false },
  missing_api_key: { owner: 'caller', retryable: false },
  invalid_api_key: { owner: 'caller', retryable: false },
  not_permitted: { owner: 'caller', retryable: false },
  model_not_found: { owner: 'caller', retryable: false },
  not_found: { owner: 'caller', retryable: false },
  method_not_allowed: { owner: 'caller', retryable: false },
  /** The client went away, so nobody reads this; it is what the ledger says. */
  client_closed: { owner: 'caller', retryable: false },
  rate_limited: { owner: 'limit', retryable: true },
  /** More than the limit's whole capacity: waiting does not help. */
  request_too_large: { owner: 'limit', retryable: false },
  upstream_unavailable: { owner: 'upstream', retryable: true },
  upstream_busy: { owner: 'upstream', retryable: true },
  upstream_timeout: { owner: 'upstream', retryable: true },
  /** The backend answered with a failure of its own, such as a model that cannot be loaded. */
  upstream_failed: { owner: 'upstream', retryable: false },
  /** The backend's stream ended without its last line, or was not what the wire promises. */
  upstream_incomplete: { owner: 'upstream', retryable: true },
  /** The model's answer does not fit the schema or tool it was forced into. */
  upstream_invalid_output: { owner: 'upstream', retryable: true },
  storage_unavailable: { owner: 'gateway', retryable: true },
  shutting_down: { owner: 'gateway', retryable: true },
  internal: { owner: 'gateway', retryable: false },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetails {
  /** For logs only: may name hosts and causes, never content and never a key. */
  readonly detail?: string;
  readonly cause?: unknown;
  /** The request's field at fault, as a path in the protocol's own names, e.g. `messages[0].content`. */
  readonly param?: string;
  /** How long to wait before another try. */
  readonly retryAfterMs?: number;
  /** For `rate_limited` and `request_too_large`: which limit. */
  readonly limit?: 'requests' | 'tokens' | 'concurrency';
  /** Overrides the catalogue where one occurrence is known to differ from its kind. */
  readonly retryable?: boolean;
}

/** The only error that crosses a boundary of the core. `message` is public: it is shown to the caller. */
export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly owner: ErrorOwner;
  readonly retryable: boolean;
  readonly detail: string | undefined;
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly limit: ErrorDetails['limit'];

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'GatewayError';
    this.code = code;
    this.owner = ERRORS[code].owner;
    this.retryable = details.retryable ?? ERRORS[code].retryable;
    this.detail = details.detail;
    this.param = details.param;
    this.retryAfterMs = details.retryAfterMs;
    this.limit = details.limit;
  }

  /** The same failure, of a field that goes by another name. */
  renamed(param: string): GatewayError {
    const { detail, retryAfterMs, limit, retryable, cause } = this;
    return new GatewayError(this.code, this.message, {
      param,
      retryable,
      cause,
      ...(detail !== undefined && { detail }),
      ...(retryAfterMs !== undefined && { retryAfterMs }),
      ...(limit !== undefined && { limit }),
    });
  }
}

/**
 * Any thrown value as a GatewayError. What is not one already is a bug, and its message is neither for the caller nor
 * for the log, as it may quote what it stumbled over; its name and place are enough to find it.
 */
export function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  const detail = thrown instanceof Error ? `${thrown.name} ${placeOf(thrown)}` : typeof thrown;
  return new GatewayError('internal', 'The gateway failed to handle this request.', {
    detail,
    cause: thrown,
  });
}

export function clientClosed(): GatewayError {
  return new GatewayError('client_closed', 'The client closed the connection.');
}

/** The first frame of an error's stack, `at function (file:line:column)`. */
export function placeOf(error: Error): string {
  return /^\s+(at .+)$/m.exec(error.stack ?? '')?.[1] ?? 'nowhere';
}
