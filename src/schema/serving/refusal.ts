import {
  type ExecutionResult,
  type FormattedExecutionResult,
  GraphQLError,
  type GraphQLErrorOptions,
  type GraphQLFormattedError,
} from 'graphql';
import type { Telemetry } from '../../core/ports.ts';
import { type ErrorCode, GatewayError, placeOf } from '../../domain/error.ts';
import { encodeGraphQLError } from '../errors.ts';

/** Codes of requests that are refused before anything is executed, besides those of the gateway's own failures. */
export type RefusalCode =
  | 'BAD_REQUEST'
  | 'NOT_ACCEPTABLE'
  | 'GRAPHQL_PARSE_FAILED'
  | 'GRAPHQL_VALIDATION_FAILED'
  | 'OPERATION_RESOLUTION_FAILURE'
  | 'BAD_USER_INPUT'
  | 'DOCUMENT_TOO_COMPLEX'
  | 'TOO_MANY_OPERATIONS'
  | 'PERSISTED_QUERY_NOT_FOUND'
  | 'PERSISTED_DOCUMENT_REQUIRED';

/** Messages may quote the document they are about. */
const MAX_MESSAGE_LENGTH = 500;

/**
 * A refusal with its HTTP status. `spec` marks the errors of a GraphQL request that is well-formed as HTTP: clients
 * that accept only `application/json` get those with status 200.
 */
export function refusal(
  code: RefusalCode,
  message: string,
  status = 400,
  { spec = false, extensions, ...place }: GraphQLErrorOptions & { readonly spec?: boolean } = {},
): GraphQLError {
  const cut = message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH)}…` : message;
  return new GraphQLError(cut, { ...place, extensions: { code, ...extensions, http: { status, spec } } });
}

/** A refusal of a document or its variables. */
export function requestError(
  code: RefusalCode,
  message: string,
  options: GraphQLErrorOptions = {},
): GraphQLError {
  return refusal(code, message, 400, { ...options, spec: true });
}

/**
 * A message of graphql-js: what is wrong and where, without the value that was found there. That may be a prompt, and as
 * long as one.
 */
export function withoutValues(message: string): string {
  return message
    .replace(/, but encountered error ".*$/s, '.')
    .replace(/[.,;]?( Did you mean [^?]{1,500}\?)? found:? .*$/is, '.$1')
    .replace(/( cannot represent [^:]{1,100}): .*$/s, '$1.')
    .replace(/Value "[^"]*" (does not exist in)/s, 'The value $1');
}

/** The statuses of failures that end a request before it is a GraphQL request. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  invalid_request: 400,
  missing_api_key: 401,
  invalid_api_key: 401,
  not_permitted: 403,
  not_found: 404,
  method_not_allowed: 405,
  body_too_large: 413,
  unsupported_media_type: 415,
  storage_unavailable: 503,
  shutting_down: 503,
};

export function statusOf(error: GatewayError): number {
  return STATUS[error.code] ?? 500;
}

/** Any failure without what only the server is to know: its HTTP status, and whatever caused it. */
export function encodeRefusal(error: GraphQLError): GraphQLFormattedError {
  const { extensions, ...shown } = error.toJSON();
  const { http: _, ...rest } = extensions ?? {};
  return { ...shown, extensions: rest };
}

type Result = { readonly [Part in keyof ExecutionResult]?: ExecutionResult[Part] | undefined };

/** A result as it is sent. One that has failures gets them as of `encodeRefusal`. */
export function formatResult(result: Result): FormattedExecutionResult {
  const { errors, data, extensions } = result;
  if (!errors) return result as FormattedExecutionResult;
  return {
    errors: errors.map(encodeRefusal),
    ...(data !== undefined && { data }),
    ...(extensions && { extensions }),
  };
}

/** A failure of the gateway's as one of the response; an unexpected one says no more than its request id. */
export function encodeFailure(error: GatewayError, requestId: string): GraphQLError {
  if (error.code !== 'internal') return encodeGraphQLError(error);
  return new GraphQLError(error.message, { extensions: { code: 'INTERNAL', requestId } });
}

/**
 * Logs what is a mistake of this API; the core has logged its own failures by then. An exception's message may quote
 * the content it stumbled over, so only its name and place are kept.
 */
export function logBug(
  thrown: unknown,
  requestId: string | undefined,
  telemetry: Pick<Telemetry, 'log'>,
): void {
  if (thrown instanceof GatewayError && thrown.code !== 'internal') return;
  telemetry.log('error', 'the GraphQL API failed to handle a request', {
    request_id: requestId,
    error: thrown instanceof Error ? thrown.name : typeof thrown,
    at: thrown instanceof Error ? placeOf(thrown) : undefined,
  });
}
