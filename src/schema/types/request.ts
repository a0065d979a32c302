import type { RecordQuery } from '../../core/ports.ts';
import { checkTime } from '../../core/usage-rules.ts';
import type { UsageRecord } from '../../domain/record.ts';
import { builder } from '../builder.ts';
import { createConnectionType, invalidCursor, loadPage, PAGE_ARGS } from '../connection.ts';
import { encodeNodeId } from '../ids.ts';
import { FinishReasonEnum } from './chat-answer.ts';
import { ErrorCodeEnum } from './error.ts';
import { Node } from './node.ts';
import { keyFilter, TimingsType, TokenUsage } from './usage.ts';

const ProtocolEnum = builder.enumType('Protocol', {
  description: 'The way by which a request came.',
  values: {
    REST: { value: 'rest', description: 'The OpenAI-compatible API.' },
    GRAPHQL: { value: 'graphql', description: 'This API.' },
  } as const,
});

const OperationEnum = builder.enumType('RequestOperation', {
  description: 'What a request asked for.',
  values: {
    CHAT: { value: 'chat', description: 'The answer to a chat.' },
    COMPLETION: { value: 'completion', description: 'The continuation of a text. Only by REST.' },
    EMBEDDING: { value: 'embedding', description: 'Vectors for texts.' },
  } as const,
});

const StatusEnum = builder.enumType('RequestStatus', {
  description: 'How a request ended.',
  values: {
    OK: { value: 'ok', description: 'It was answered.' },
    ERROR: { value: 'error', description: 'It failed, or was refused.' },
    CANCELLED: { value: 'cancelled', description: 'The client left.' },
  } as const,
});

export const RequestType = builder.objectRef<UsageRecord>('Request').implement({
  description: 'What is kept of a request to a model that has ended. Never its content.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({
      description: 'Unique over all types. Opaque. The `completionId` of what the request was answered with.',
      resolve: ({ id }) => encodeNodeId('Request', id),
    }),
    requestId: t.exposeString('requestId', {
      description: 'What responses show as `x-request-id`. Clients may choose it, so it need not be unique.',
    }),
    apiKeyId: t.id({
      description: 'The id of the API key.',
      resolve: ({ keyId }) => encodeNodeId('ApiKey', keyId),
    }),
    protocol: t.expose('protocol', { type: ProtocolEnum, description: 'The way by which it came.' }),
    operation: t.expose('operation', { type: OperationEnum, description: 'What it asked for.' }),
    model: t.exposeString('model', {
      description: "The model's name; as it was asked for, where it is not known.",
    }),
    backend: t.exposeString('backend', { nullable: true, description: 'The label of the model server.' }),
    status: t.expose('status', { type: StatusEnum, description: 'How it ended.' }),
    errorCode: t.expose('errorCode', {
      type: ErrorCodeEnum,
      nullable: true,
      description: 'Why it failed. Null where it did not.',
    }),
    finishReason: t.expose('finishReason', {
      type: FinishReasonEnum,
      nullable: true,
      description: 'Why the model stopped. Null where it did not get that far.',
    }),
    isStreamed: t.exposeBoolean('streamed', { description: 'Whether it was answered piece by piece.' }),
    usage: t.expose('usage', { type: TokenUsage, description: 'What it took, in tokens.' }),
    timings: t.expose('timings', { type: TimingsType, description: 'Where its time went.' }),
    startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it arrived.' }),
  }),
});

const RequestFilter = builder.inputType('RequestFilter', {
  description: 'Which requests to list: those that fit everything given.',
  fields: (t) => ({
    apiKeyId: t.id({ description: 'Only those of this API key.' }),
    model: t.string({ description: 'Only those to this model, by its full name.' }),
    status: t.field({ type: StatusEnum, description: 'Only those that ended so.' }),
    from: t.field({ type: 'DateTime', description: 'Only those that arrived then or later.' }),
    to: t.field({ type: 'DateTime', description: 'Only those that arrived before.' }),
  }),
});

const RequestConnection = createConnectionType('Request', RequestType, 'requests');

builder.queryField('requests', (t) =>
  t.field({
    type: RequestConnection,
    nullable: true,
    scope: 'usage:read',
    description:
      'The requests of the key, or of every key for a key that may read keys, newest first. A request is listed soon after its end.',
    args: {
      ...PAGE_ARGS,
      filter: t.arg({ type: RequestFilter, description: 'Which ones. Absent: all.' }),
    },
    resolve: (_root, { filter, ...page }, { gateway, principal }) =>
      loadPage(
        page,
        (limit, after) =>
          gateway.administration.records(principal, {
            limit,
            ...decodeFilter(filter ?? {}),
            ...(after !== undefined && { after: decodeCursor(after) }),
          }),
        ({ startedAt, id }) => `${startedAt.getTime()}:${id}`,
      ),
  }),
);

function decodeFilter(filter: typeof RequestFilter.$inferInput): Omit<RecordQuery, 'limit' | 'after'> {
  const { apiKeyId, model, status, from, to } = filter;
  if (from) checkTime(from, 'filter.from');
  if (to) checkTime(to, 'filter.to');
  return {
    ...keyFilter(apiKeyId, 'filter.apiKeyId'),
    ...(typeof model === 'string' && { model }),
    ...(status && { status }),
    ...(from && { from }),
    ...(to && { to }),
  };
}

function decodeCursor(text: string): NonNullable<RecordQuery['after']> {
  const [, ms, id] = /^(\d{1,15}):([\w-]{1,64})$/.exec(text) ?? [];
  if (ms === undefined || id === undefined) throw invalidCursor();
  return { startedAt: new Date(Number(ms)), id };
}
