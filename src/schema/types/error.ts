import type { ErrorCode } from '../../domain/error.ts';
import { builder } from '../builder.ts';
import { type ErrorObject, type ErrorTypeName, encodeErrorCode } from '../errors.ts';

const DESCRIPTIONS: Readonly<Record<ErrorCode, string>> = {
  invalid_request: 'An argument or input field has a value that it cannot have.',
  unsupported_parameter: 'An input field asks for what no backend can do.',
  capability_missing: 'The model cannot do what the request asks of it.',
  context_length_exceeded: 'The prompt is longer than the model can read.',
  body_too_large: 'The request is larger than the gateway accepts.',
  unsupported_media_type: 'The request is not encoded in a way that the gateway reads.',
  missing_api_key: 'The request carries no API key.',
  invalid_api_key: 'The API key is unknown, revoked or expired.',
  not_permitted: 'The API key lacks the scope, or may not use the model.',
  model_not_found: 'The model does not exist, or the API key may not know of it.',
  not_found: 'There is nothing with this id, or the API key may not know of it.',
  method_not_allowed: 'The HTTP method does not fit the operation.',
  client_closed: 'The client left before the answer was complete.',
  rate_limited: "One of the API key's limits is reached for now.",
  request_too_large: 'The request alone asks for more than a limit ever allows.',
  upstream_unavailable: 'No model server can take the request now.',
  upstream_busy: 'Every model server that could take the request is busy.',
  upstream_timeout: 'The model server did not answer in time.',
  upstream_failed: 'The model server failed, for example to load the model.',
  upstream_incomplete: 'The model server stopped before its answer was complete.',
  upstream_invalid_output: "The model's answer does not fit the schema or tool that was asked for.",
  storage_unavailable: 'The database of the gateway cannot be reached.',
  shutting_down: 'The gateway is being stopped; another replica will answer.',
  internal: 'A mistake of the gateway. Its request id helps whoever looks for it.',
};

export const ErrorCodeEnum = builder.enumType('ErrorCode', {
  description: 'What went wrong. A stable name, also found as `extensions.code`; more may be added.',
  values: Object.fromEntries(
    (Object.keys(DESCRIPTIONS) as ErrorCode[]).map((code) => [
      encodeErrorCode(code),
      { value: code, description: DESCRIPTIONS[code] },
    ]),
  ) as Record<Uppercase<ErrorCode>, { value: ErrorCode; description: string }>,
});

export const LimitNameEnum = builder.enumType('LimitName', {
  description: 'One of the limits that a key can have.',
  values: {
    REQUESTS: { value: 'requests', description: 'Requests per minute.' },
    TOKENS: { value: 'tokens', description: 'Tokens per minute, of prompts and answers together.' },
    CONCURRENCY: { value: 'concurrency', description: 'Requests that run at the same time.' },
  } as const,
});

export const ErrorInterface = builder.interfaceRef<ErrorObject>('Error').implement({
  description: 'A failure that callers can expect.',
  resolveType: (error) => error.__typename,
  fields: (t) => ({
    code: t.expose('code', { type: ErrorCodeEnum, description: 'What went wrong, for programs.' }),
    message: t.exposeString('message', { description: 'What went wrong, in a sentence for people.' }),
    retryable: t.exposeBoolean('retryable', {
      description: 'Whether the same request, sent again later, may succeed.',
    }),
  }),
});

const errorRef = (name: ErrorTypeName) => builder.objectRef<ErrorObject>(name);
const interfaces = [ErrorInterface];

const PATH =
  'The input field at fault, from the arguments on: `input.messages[0].content`. Null where it is not one field.';
const RETRY_AFTER = 'How long to wait before another try, in milliseconds. Null where nobody knows.';

export const InvalidRequestError = errorRef('InvalidRequestError').implement({
  description: 'The request itself is wrong.',
  interfaces,
  fields: (t) => ({ path: t.exposeString('path', { nullable: true, description: PATH }) }),
});

export const CapabilityMissingError = errorRef('CapabilityMissingError').implement({
  description: 'The model cannot do what the request asks of it, such as to call tools or to see images.',
  interfaces,
  fields: (t) => ({ path: t.exposeString('path', { nullable: true, description: PATH }) }),
});

export const NotAuthenticatedError = errorRef('NotAuthenticatedError').implement({
  description: 'The API key is missing, or not valid any more.',
  interfaces,
});

export const NotPermittedError = errorRef('NotPermittedError').implement({
  description: 'The API key lacks the scope, or may not use the model.',
  interfaces,
  fields: (t) => ({ path: t.exposeString('path', { nullable: true, description: PATH }) }),
});

export const ModelNotFoundError = errorRef('ModelNotFoundError').implement({
  description: 'The model does not exist, or the API key may not know of it.',
  interfaces,
  fields: (t) => ({ path: t.exposeString('path', { nullable: true, description: PATH }) }),
});

export const NotFoundError = errorRef('NotFoundError').implement({
  description: 'There is nothing with this id, or the API key may not know of it.',
  interfaces,
});

export const RateLimitedError = errorRef('RateLimitedError').implement({
  description: "One of the API key's limits refuses the request. Nothing was taken from any of them.",
  interfaces,
  fields: (t) => ({
    retryAfterMs: t.expose('retryAfterMs', {
      type: 'SafeInt',
      nullable: true,
      description:
        'When the same request could pass, in milliseconds from now. Null where it never can, being larger than the limit.',
    }),
    limitName: t.expose('limitName', {
      type: LimitNameEnum,
      nullable: true,
      description: 'Which limit refuses.',
    }),
    limit: t.expose('limit', {
      type: 'SafeInt',
      nullable: true,
      description: 'The whole of that limit: requests or tokens per minute, or requests at the same time.',
    }),
    remaining: t.expose('remaining', {
      type: 'SafeInt',
      nullable: true,
      description: 'How much of it is left, in the same unit.',
    }),
    resetMs: t.expose('resetMs', {
      type: 'SafeInt',
      nullable: true,
      description: 'The time until all of it is there again, in milliseconds.',
    }),
  }),
});

export const UpstreamUnavailableError = errorRef('UpstreamUnavailableError').implement({
  description: 'No model server can take the request now.',
  interfaces,
  fields: (t) => ({
    retryAfterMs: t.expose('retryAfterMs', { type: 'SafeInt', nullable: true, description: RETRY_AFTER }),
  }),
});

export const UpstreamFailedError = errorRef('UpstreamFailedError').implement({
  description: 'A model server took the request and failed.',
  interfaces,
});

export const GatewayUnavailableError = errorRef('GatewayUnavailableError').implement({
  description: 'The gateway lacks what it needs for this, or is being stopped.',
  interfaces,
  fields: (t) => ({
    retryAfterMs: t.expose('retryAfterMs', { type: 'SafeInt', nullable: true, description: RETRY_AFTER }),
  }),
});

builder.objectType(errorRef('InternalError'), {
  description: 'A mistake of the gateway, at the end of a stream. Elsewhere it is in `errors`.',
  interfaces,
  fields: (t) => ({
    requestId: t.exposeString('requestId', {
      nullable: true,
      description: 'What to tell whoever runs the gateway.',
    }),
  }),
});

/** What can be expected of a request to a model. */
export const INFERENCE_ERRORS = [
  InvalidRequestError,
  CapabilityMissingError,
  NotAuthenticatedError,
  NotPermittedError,
  ModelNotFoundError,
  RateLimitedError,
  UpstreamUnavailableError,
  UpstreamFailedError,
  GatewayUnavailableError,
] as const;

/** What can be expected when keys are managed. */
export const ADMINISTRATION_ERRORS = [
  InvalidRequestError,
  NotPermittedError,
  NotFoundError,
  GatewayUnavailableError,
] as const;

/** The type of a union's value: a failure says its own, and what is not a failure is the success. */
export function resolveResult(success: string): (value: object) => string {
  return (value) => ('__typename' in value ? String(value.__typename) : success);
}
