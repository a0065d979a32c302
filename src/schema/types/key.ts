import type { KeyDraft, KeyEdit } from '../../core/key-rules.ts';
import type { IssuedKey } from '../../core/keys.ts';
import { GatewayError } from '../../domain/error.ts';
import type { Limits } from '../../domain/limit.ts';
import type { ApiKey } from '../../domain/principal.ts';
import { builder } from '../builder.ts';
import { createConnectionType, invalidCursor, loadPage, PAGE_ARGS } from '../connection.ts';
import { ArgumentError } from '../errors.ts';
import { decodeIdOf, encodeNodeId } from '../ids.ts';
import { ADMINISTRATION_ERRORS, resolveResult } from './error.ts';
import { Node, orNothing } from './node.ts';

export const ScopeEnum = builder.enumType('Scope', {
  description: 'Something that an API key may do.',
  values: {
    CHAT: { value: 'chat', description: 'Ask models for answers.' },
    EMBEDDINGS: { value: 'embeddings', description: 'Ask models for vectors.' },
    MODELS: { value: 'models', description: 'See which models there are.' },
    KEYS_READ: { value: 'keys:read', description: 'See all API keys.' },
    KEYS_WRITE: { value: 'keys:write', description: 'Create, change and revoke API keys.' },
    USAGE_READ: {
      value: 'usage:read',
      description: "See the key's own requests and usage; together with `KEYS_READ`, everybody's.",
    },
  } as const,
});

const ApiKeyLimits = builder.objectRef<Limits>('ApiKeyLimits').implement({
  description: 'What an API key is limited to. Null does not limit.',
  fields: (t) => ({
    requestsPerMinute: t.expose('requestsPerMinute', {
      type: 'SafeInt',
      nullable: true,
      description: 'Requests per minute.',
    }),
    tokensPerMinute: t.expose('tokensPerMinute', {
      type: 'SafeInt',
      nullable: true,
      description: 'Tokens per minute, of prompts and answers together.',
    }),
    concurrentRequests: t.expose('concurrentRequests', {
      type: 'SafeInt',
      nullable: true,
      description: 'Requests that run at the same time.',
    }),
  }),
});

interface MetadataPair {
  readonly name: string;
  readonly value: string;
}

const MetadataEntry = builder.objectRef<MetadataPair>('MetadataEntry').implement({
  description: 'A note on an API key. It has no effect.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'What the note is about. Unique within the key.' }),
    value: t.exposeString('value', { description: 'What it says.' }),
  }),
});

export const ApiKeyType = builder.objectRef<ApiKey>('ApiKey').implement({
  description: 'A key to the gateway, without its secret: nobody has that but its holder.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({
      description: 'Unique over all types. Opaque.',
      resolve: ({ keyId }) => encodeNodeId('ApiKey', keyId),
    }),
    name: t.exposeString('name', { description: 'What people call it.' }),
    prefix: t.exposeString('prefix', {
      description: 'How its newest secret begins: enough to recognise it, not to use it.',
    }),
    scopes: t.expose('scopes', { type: [ScopeEnum], description: 'What it may do.' }),
    models: t.exposeStringList('models', {
      description: 'The models that it may use; `*` is any run of characters. Empty: all.',
    }),
    limits: t.expose('limits', { type: ApiKeyLimits, description: 'What it is limited to.' }),
    metadata: t.field({
      type: [MetadataEntry],
      description: 'Notes on it, for people.',
      resolve: ({ metadata }) => Object.entries(metadata).map(([name, value]) => ({ name, value })),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was created.' }),
    lastUsedAt: t.expose('lastUsedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was last used, to within minutes. Null: never.',
    }),
    expiresAt: t.expose('expiresAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it ends by itself. Null: never.',
    }),
    revokedAt: t.expose('revokedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was revoked. Null: it was not.',
    }),
  }),
});

const ApiKeyConnection = createConnectionType('ApiKey', ApiKeyType, 'API keys');

const ApiKeyFilter = builder.inputType('ApiKeyFilter', {
  description: 'Which API keys to list: those that fit everything given.',
  fields: (t) => ({
    name: t.string({ description: 'Only those with this in their names, whatever its case.' }),
    isRevoked: t.boolean({ description: 'Only those that are revoked, or only those that are not.' }),
  }),
});

builder.queryFields((t) => ({
  apiKeys: t.field({
    type: ApiKeyConnection,
    nullable: true,
    scope: 'keys:read',
    description: 'The API keys, newest first.',
    args: {
      ...PAGE_ARGS,
      filter: t.arg({ type: ApiKeyFilter, description: 'Which ones. Absent: all.' }),
    },
    resolve: (_root, { filter, ...page }, { gateway, principal }) =>
      loadPage(
        page,
        async (limit, after) => {
          const keys = gateway.administration.listKeys(principal, {
            limit,
            ...(after !== undefined && { after }),
            ...(typeof filter?.name === 'string' && { name: filter.name }),
            ...(typeof filter?.isRevoked === 'boolean' && { revoked: filter.isRevoked }),
          });
          return await keys.catch((thrown) => {
            throw thrown instanceof GatewayError && thrown.param === 'after' ? invalidCursor() : thrown;
          });
        },
        ({ keyId }) => keyId,
      ),
  }),
  apiKey: t.field({
    type: ApiKeyType,
    nullable: true,
    scope: 'authenticated',
    description: 'One API key. Null where there is none; a key that may not read keys sees itself.',
    args: { id: t.arg.id({ required: true, description: "The key's id." }) },
    resolve: (_root, { id }, { gateway, principal }) =>
      orNothing(async () => gateway.administration.getKey(principal, decodeKeyId(id))),
  }),
}));

const LimitsInput = builder.inputType('ApiKeyLimitsInput', {
  description: 'What an API key is limited to, each 1 to 1,000,000,000. Null does not limit.',
  fields: (t) => ({
    requestsPerMinute: t.int({ description: 'Requests per minute.' }),
    tokensPerMinute: t.int({ description: 'Tokens per minute, of prompts and answers together.' }),
    concurrentRequests: t.int({ description: 'Requests that run at the same time.' }),
  }),
});

const MetadataEntryInput = builder.inputType('MetadataEntryInput', {
  description: 'A note on an API key. It has no effect.',
  fields: (t) => ({
    name: t.string({
      required: true,
      description: 'What the note is about: 1 to 64 characters, each name once.',
    }),
    value: t.string({ required: true, description: 'What it says: up to 500 characters.' }),
  }),
});

const DESCRIPTIONS = {
  name: 'What people call it: 1 to 200 characters.',
  scopes: "What it may do: at least one, and none that the caller's own key lacks.",
  models: 'The models that it may use; `*` is any run of characters. Empty: all. At most 100.',
  metadata: 'Notes on it, for people. At most 50.',
  expiresAt: 'When it ends by itself: a time in the future. Null: never.',
} as const;

const CreateApiKeyInput = builder.inputType('CreateApiKeyInput', {
  description: 'The API key to create.',
  fields: (t) => ({
    name: t.string({ required: true, description: DESCRIPTIONS.name }),
    scopes: t.field({ type: [ScopeEnum], required: true, description: DESCRIPTIONS.scopes }),
    models: t.stringList({ required: true, defaultValue: [], description: DESCRIPTIONS.models }),
    limits: t.field({ type: LimitsInput, description: 'What it is limited to. Absent: nothing.' }),
    expiresAt: t.field({ type: 'DateTime', description: DESCRIPTIONS.expiresAt }),
    metadata: t.field({ type: [MetadataEntryInput], description: DESCRIPTIONS.metadata }),
  }),
});

const UpdateApiKeyInput = builder.inputType('UpdateApiKeyInput', {
  description: 'A change to an API key. What is absent stays as it is; only what a key can lack may be null.',
  fields: (t) => ({
    id: t.id({ required: true, description: "The key's id." }),
    name: t.string({ description: DESCRIPTIONS.name }),
    scopes: t.field({ type: [ScopeEnum], description: DESCRIPTIONS.scopes }),
    models: t.stringList({ description: DESCRIPTIONS.models }),
    limits: t.field({
      type: LimitsInput,
      description:
        'What it is limited to. A limit that is absent stays, and null takes it away; null for the whole takes away all.',
    }),
    expiresAt: t.field({ type: 'DateTime', description: DESCRIPTIONS.expiresAt }),
    metadata: t.field({
      type: [MetadataEntryInput],
      description: `${DESCRIPTIONS.metadata} Replaces what there is; null takes it away.`,
    }),
  }),
});

const RotateApiKeyInput = builder.inputType('RotateApiKeyInput', {
  description: 'Which API key gets another secret, and for how long the earlier one stays valid.',
  fields: (t) => ({
    id: t.id({ required: true, description: "The key's id." }),
    graceSeconds: t.int({
      required: true,
      defaultValue: 0,
      description:
        'For how long the earlier secrets stay valid, in seconds: 0 to 2,592,000, which is 30 days.',
    }),
  }),
});

const RevokeApiKeyInput = builder.inputType('RevokeApiKeyInput', {
  description: 'Which API key ends for good.',
  fields: (t) => ({ id: t.id({ required: true, description: "The key's id." }) }),
});

const IssuedApiKey = builder.objectRef<IssuedKey>('IssuedApiKey').implement({
  description: 'An API key together with its new secret.',
  fields: (t) => ({
    apiKey: t.expose('key', { type: ApiKeyType, description: 'The key.' }),
    secret: t.exposeString('secret', {
      description:
        'What to send as `Authorization: Bearer …`. Shown this once: the gateway does not keep it.',
    }),
  }),
});

const IssuedApiKeyResult = builder.unionType('IssuedApiKeyResult', {
  description: 'An API key with its new secret, or why there is none.',
  types: [IssuedApiKey, ...ADMINISTRATION_ERRORS],
  resolveType: resolveResult('IssuedApiKey'),
});

const ApiKeyResult = builder.unionType('ApiKeyResult', {
  description: 'An API key as it is now, or why it could not be changed.',
  types: [ApiKeyType, ...ADMINISTRATION_ERRORS],
  resolveType: resolveResult('ApiKey'),
});

builder.mutationFields((t) => ({
  createApiKey: t.field({
    type: IssuedApiKeyResult,
    scope: 'keys:write',
    description: 'Creates an API key.',
    args: { input: t.arg({ type: CreateApiKeyInput, required: true, description: 'The key to create.' }) },
    resolve: (_root, { input }, { gateway, principal }) =>
      gateway.administration.createKey(principal, decodeDraft(input)),
  }),
  updateApiKey: t.field({
    type: ApiKeyResult,
    scope: 'keys:write',
    description: 'Changes an API key. Requests that run keep what they were admitted under.',
    args: { input: t.arg({ type: UpdateApiKeyInput, required: true, description: 'The change.' }) },
    resolve: (_root, { input }, { gateway, principal }) =>
      gateway.administration.updateKey(principal, decodeKeyId(input.id), decodeEdit(input)),
  }),
  rotateApiKey: t.field({
    type: IssuedApiKeyResult,
    scope: 'keys:write',
    description: 'Gives an API key another secret. Limits and usage stay those of the one key.',
    args: { input: t.arg({ type: RotateApiKeyInput, required: true, description: 'Which key, and how.' }) },
    resolve: (_root, { input: { id, graceSeconds } }, { gateway, principal }) =>
      gateway.administration.rotateKey(principal, decodeKeyId(id), { graceSeconds }),
  }),
  revokeApiKey: t.field({
    type: ApiKeyResult,
    scope: 'keys:write',
    description: 'Ends an API key for good, and what runs under it. Doing so again changes nothing.',
    args: { input: t.arg({ type: RevokeApiKeyInput, required: true, description: 'Which key.' }) },
    resolve: (_root, { input: { id } }, { gateway, principal }) =>
      gateway.administration.revokeKey(principal, decodeKeyId(id)),
  }),
}));

/** @throws GatewayError `not_found`, as for a key that does not exist. */
function decodeKeyId(id: string): string {
  const keyId = decodeIdOf('ApiKey', id);
  if (keyId === undefined) throw new GatewayError('not_found', 'There is no key with this id.');
  return keyId;
}

function decodeDraft({
  name,
  scopes,
  models,
  limits,
  expiresAt,
  metadata,
}: typeof CreateApiKeyInput.$inferInput): KeyDraft {
  return {
    name,
    scopes,
    models,
    limits: decodeLimits(limits ?? {}),
    ...(expiresAt && { expiresAt }),
    ...(metadata && { metadata: decodeMetadata(metadata) }),
  };
}

/** @throws ArgumentError for a null in the place of what every key has. */
function decodeEdit(input: typeof UpdateApiKeyInput.$inferInput): KeyEdit {
  const { limits, expiresAt, metadata } = input;
  const name = requireValue(input.name, 'name');
  const scopes = requireValue(input.scopes, 'scopes');
  const models = requireValue(input.models, 'models');
  return {
    ...(name !== undefined && { name }),
    ...(scopes && { scopes }),
    ...(models && { models }),
    ...(limits !== undefined && { limits: decodeLimitChange(limits ?? NO_LIMITS) }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(metadata !== undefined && { metadata: decodeMetadata(metadata ?? []) }),
  };
}

const NO_LIMITS = { requestsPerMinute: null, tokensPerMinute: null, concurrentRequests: null };

function requireValue<T>(value: T | null | undefined, name: string): T | undefined {
  if (value === null) throw new ArgumentError(`input.${name}`, `${name} must not be null.`);
  return value;
}

function decodeLimits(limits: typeof LimitsInput.$inferInput): Limits {
  const { requestsPerMinute, tokensPerMinute, concurrentRequests } = limits;
  return {
    ...(typeof requestsPerMinute === 'number' && { requestsPerMinute }),
    ...(typeof tokensPerMinute === 'number' && { tokensPerMinute }),
    ...(typeof concurrentRequests === 'number' && { concurrentRequests }),
  };
}

/** A limit that is absent stays, so absence and null are told apart. */
function decodeLimitChange(limits: typeof LimitsInput.$inferInput): NonNullable<KeyEdit['limits']> {
  const { requestsPerMinute, tokensPerMinute, concurrentRequests } = limits;
  return {
    ...(requestsPerMinute !== undefined && { requestsPerMinute }),
    ...(tokensPerMinute !== undefined && { tokensPerMinute }),
    ...(concurrentRequests !== undefined && { concurrentRequests }),
  };
}

function decodeMetadata(entries: readonly MetadataPair[]): Record<string, string> {
  const names = new Set<string>();
  for (const [index, { name }] of entries.entries()) {
    if (names.has(name)) {
      throw new ArgumentError(`input.metadata[${index}].name`, 'metadata must have each name once.');
    }
    names.add(name);
  }
  return Object.fromEntries(entries.map(({ name, value }) => [name, value]));
}
