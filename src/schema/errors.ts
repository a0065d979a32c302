import { GraphQLError } from 'graphql';
import { type ErrorCode, GatewayError } from '../domain/error.ts';
import type { LimitName } from '../domain/limit.ts';
import type { GraphQLContext } from './context.ts';

/** Which type each failure is. The only such table: a new code does not compile before it is here. */
const TYPES = {
  invalid_request: 'InvalidRequestError',
  unsupported_parameter: 'InvalidRequestError',
  context_length_exceeded: 'InvalidRequestError',
  body_too_large: 'InvalidRequestError',
  unsupported_media_type: 'InvalidRequestError',
  method_not_allowed: 'InvalidRequestError',
  capability_missing: 'CapabilityMissingError',
  missing_api_key: 'NotAuthenticatedError',
  invalid_api_key: 'NotAuthenticatedError',
  not_permitted: 'NotPermittedError',
  model_not_found: 'ModelNotFoundError',
  not_found: 'NotFoundError',
  rate_limited: 'RateLimitedError',
  request_too_large: 'RateLimitedError',
  upstream_unavailable: 'UpstreamUnavailableError',
  upstream_busy: 'UpstreamUnavailableError',
  upstream_timeout: 'UpstreamFailedError',
  upstream_failed: 'UpstreamFailedError',
  upstream_incomplete: 'UpstreamFailedError',
  upstream_invalid_output: 'UpstreamFailedError',
  storage_unavailable: 'GatewayUnavailableError',
  shutting_down: 'GatewayUnavailableError',
  client_closed: 'InternalError',
  internal: 'InternalError',
} as const satisfies Readonly<Record<ErrorCode, string>>;

export type ErrorTypeName = (typeof TYPES)[ErrorCode];

/** A failure as a value of the schema. Which of the optional fields there are, its type says. */
export interface ErrorObject {
  readonly __typename: ErrorTypeName;
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly path?: string;
  readonly retryAfterMs?: number;
  readonly limitName?: LimitName;
  readonly limit?: number;
  readonly remaining?: number;
  readonly resetMs?: number;
  readonly requestId?: string;
}

/** An `invalid_request` whose `param` is a path in the terms of the schema, as in `input.messages[0].content`. */
export class ArgumentError extends GatewayError {
  constructor(path: string, message: string) {
    super('invalid_request', message, { param: path });
  }
}

/** Whether a failure is one that callers can expect. Any other is a mistake of the gateway's, or nobody reads it. */
export function isExpected(error: GatewayError): boolean {
  return TYPES[error.code] !== 'InternalError';
}

/** A failure of an operation that takes one `input`. */
export function encodeError(
  error: GatewayError,
  context: Pick<GraphQLContext, 'rateLimit' | 'requestId'>,
): ErrorObject {
  const { code, message, retryable, param, limit: limitName } = error;
  const __typename = TYPES[code];
  const path = error instanceof ArgumentError ? param : param && encodePath(param);
  const retryAfterMs = error.retryAfterMs === undefined ? undefined : Math.ceil(error.retryAfterMs);
  const base = { __typename, code, message, retryable };
  switch (__typename) {
    case 'InvalidRequestError':
    case 'CapabilityMissingError':
    case 'ModelNotFoundError':
    case 'NotPermittedError':
      return { ...base, ...(path !== undefined && { path }) };
    case 'RateLimitedError':
      return {
        ...base,
        ...(retryAfterMs !== undefined && { retryAfterMs }),
        ...(limitName && { limitName, ...context.rateLimit?.[limitName] }),
      };
    case 'UpstreamUnavailableError':
    case 'GatewayUnavailableError':
      return { ...base, ...(retryAfterMs !== undefined && { retryAfterMs }) };
    case 'InternalError':
      return { ...base, requestId: context.requestId };
    case 'NotAuthenticatedError':
    case 'NotFoundError':
    case 'UpstreamFailedError':
      return base;
  }
}

/** A failure of a query, for the `errors` of the response. */
export function encodeGraphQLError(error: GatewayError): GraphQLError {
  const { code, message, param, retryable, retryAfterMs } = error;
  return new GraphQLError(message, {
    extensions: {
      code: encodeErrorCode(code),
      retryable,
      ...(param !== undefined && { argument: param }),
      ...(retryAfterMs !== undefined && { retryAfterMs: Math.ceil(retryAfterMs) }),
    },
  });
}

/** A failure's code as GraphQL writes enum values; the same in the schema and in `extensions.code`. */
export function encodeErrorCode<Code extends ErrorCode>(code: Code): Uppercase<Code> {
  return code.toUpperCase() as Uppercase<Code>;
}

/** Fields of the canonical request that have another name here. */
const RENAMED: Readonly<Record<string, string>> = { keepAlive: 'keepAliveSeconds' };

/** The core names fields as OpenAI does: `tool_choice` is `input.toolChoice` here. */
function encodePath(param: string): string {
  // What a message says, calls or answers is all in its parts here.
  const field = param.replace(/^(messages\[\d+\])\..*/, '$1.content');
  const camelCase = field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return `input.${RENAMED[camelCase] ?? camelCase}`;
}
