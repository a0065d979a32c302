import { beforeEach, describe, expect, test } from '@jest/globals';
import type { Scope } from '../../../src/domain/principal.ts';
import { encodeNodeId } from '../../../src/schema/ids.ts';
import { apiKey, CALLER, createHarness, type Data, type SchemaHarness } from '../../support/schema.ts';

const KEY = `
  id name prefix scopes models
  limits { requestsPerMinute tokensPerMinute concurrentRequests }
  metadata { name value }
  createdAt lastUsedAt expiresAt revokedAt
`;
const ERROR = '... on Error { code message retryable } ... on InvalidRequestError { path }';
const ISSUED = `__typename ... on IssuedApiKey { secret apiKey { ${KEY} } } ${ERROR}`;
const CHANGED = `__typename ... on ApiKey { ${KEY} } ${ERROR}`;

const CREATE = `mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { ${ISSUED} } }`;
const UPDATE = `mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { ${CHANGED} } }`;
const ROTATE = `mutation($input: RotateApiKeyInput!) { rotateApiKey(input: $input) { ${ISSUED} } }`;
const REVOKE = `mutation($input: RevokeApiKeyInput!) { revokeApiKey(input: $input) { ${CHANGED} } }`;
const ONE = `query($id: ID!) { apiKey(id: $id) { ${KEY} } }`;
const LIST = `query($first: Int! = 20, $after: String, $filter: ApiKeyFilter) {
  apiKeys(first: $first, after: $after, filter: $filter) {
    edges { cursor node { name } }
    nodes { name }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

let harness: SchemaHarness;
beforeEach(() => {
  harness = createHarness();
});

const idOf = (keyId: string) => encodeNodeId('ApiKey', keyId);

async function run(source: string, variables: Data, scopes?: readonly Scope[]): Promise<Data> {
  const context = scopes && harness.context({ principal: { ...CALLER, scopes } });
  return Object.values(await harness.run(source, variables, context))[0] as Data;
}

describe('creating a key', () => {
  test('gives all of it, and its secret', async () => {
    const created = await run(CREATE, {
      input: {
        name: 'Search team',
        scopes: ['USAGE_READ', 'CHAT'],
        models: ['llama3*'],
        limits: { requestsPerMinute: 10, tokensPerMinute: null, concurrentRequests: 2 },
        expiresAt: '2027-01-01T02:00:00+02:00',
        metadata: [
          { name: 'team', value: 'search' },
          { name: '__proto__', value: 'x' },
        ],
      },
    });
    const stored = [...harness.keys.values()].at(-1);
    expect(created).toEqual({
      __typename: 'IssuedApiKey',
      secret: expect.stringMatching(/^llmgw_[0-9a-f]{64}$/),
      apiKey: {
        id: idOf(stored?.keyId ?? ''),
        name: 'Search team',
        prefix: String(created['secret']).slice(0, 12),
        scopes: ['CHAT', 'USAGE_READ'],
        models: ['llama3*'],
        limits: { requestsPerMinute: 10, tokensPerMinute: null, concurrentRequests: 2 },
        metadata: [
          { name: 'team', value: 'search' },
          { name: '__proto__', value: 'x' },
        ],
        createdAt: '2026-01-01T12:00:00.000Z',
        lastUsedAt: null,
        expiresAt: '2027-01-01T00:00:00.000Z',
        revokedAt: null,
      },
    });
    expect(JSON.stringify([...harness.keys])).not.toContain(created['secret']);
  });

  test.each<[string, Data]>([
    ['input.name', { name: ' ' }],
    ['input.scopes', { scopes: [] }],
    ['input.models[1]', { models: ['fine', 'not fine'] }],
    ['input.limits.tokensPerMinute', { limits: { tokensPerMinute: 0 } }],
    ['input.expiresAt', { expiresAt: '2020-01-01T00:00:00Z' }],
    ['input.metadata', { metadata: [{ name: '', value: 'x' }] }],
    [
      'input.metadata[1].name',
      {
        metadata: [
          { name: 'a', value: 'x' },
          { name: 'a', value: 'y' },
        ],
      },
    ],
  ])('with a wrong %s is refused with that place: %j', async (path, change) => {
    const answer = await run(CREATE, { input: { name: 'Key', scopes: ['CHAT'], ...change } });
    expect(answer).toMatchObject({ __typename: 'InvalidRequestError', code: 'INVALID_REQUEST', path });
    expect(harness.keys.size).toBe(1);
  });

  test.each([
    '2027-01-01',
    '2027-01-01T00:00:00',
    'tomorrow',
    '2027-13-01T00:00:00Z',
    '2027-02-30T00:00:00Z',
    '2027-04-31T00:00:00+02:00',
    '2027-01-31T24:00:00Z',
    '2027-01-31T12:00:60Z',
    '2027-01-31T12:00:00+24:00',
    '',
  ])('with a time that is none, %j, is refused before anything runs', async (expiresAt) => {
    const { errors } = await harness.execute(CREATE, {
      input: { name: 'Key', scopes: ['CHAT'], expiresAt },
    });
    expect(errors?.[0]?.message).toContain('DateTime');
  });

  test.each([
    ['2028-02-29T00:30:00+02:00', '2028-02-28T22:30:00.000Z'],
    ['2027-12-31t23:59:59.999z', '2027-12-31T23:59:59.999Z'],
  ])('ends at the moment %s, whatever its offset', async (expiresAt, moment) => {
    const created = await run(CREATE, { input: { name: 'Key', scopes: ['CHAT'], expiresAt } });
    expect(created['apiKey']).toMatchObject({ expiresAt: moment });
  });

  test('hands out no scope that the caller lacks', async () => {
    const answer = await run(CREATE, { input: { name: 'Key', scopes: ['KEYS_READ'] } }, ['keys:write']);
    expect(answer).toMatchObject({ __typename: 'NotPermittedError', code: 'NOT_PERMITTED' });
  });
});

describe('changing a key', () => {
  beforeEach(() => {
    harness.keys.set(
      'key_1',
      apiKey({ keyId: 'key_1', limits: { requestsPerMinute: 5, tokensPerMinute: 9 } }),
    );
  });

  test('changes what is given, takes away what is null, and leaves the rest', async () => {
    const input = { id: idOf('key_1'), name: 'Renamed', limits: { requestsPerMinute: null } };
    expect(await run(UPDATE, { input })).toMatchObject({
      __typename: 'ApiKey',
      name: 'Renamed',
      scopes: ['CHAT'],
      limits: { requestsPerMinute: null, tokensPerMinute: 9 },
    });
  });

  test('takes away all limits and all notes where they are null', async () => {
    const notes = [{ name: 'team', value: 'search' }];
    await run(UPDATE, { input: { id: idOf('key_1'), metadata: notes } });
    expect(harness.keys.get('key_1')).toMatchObject({ metadata: { team: 'search' } });
    await run(UPDATE, { input: { id: idOf('key_1'), metadata: null, limits: null } });
    expect(harness.keys.get('key_1')).toMatchObject({ metadata: {}, limits: {} });
    expect(harness.keys.get('key_1')?.limits).toEqual({});
  });

  test('sets the time at which it ends, leaves it where none is given, and takes it away where it is null', async () => {
    const id = idOf('key_1');
    const expiresAt = '2027-01-01T00:00:00.000Z';
    expect(await run(UPDATE, { input: { id, expiresAt } })).toMatchObject({ expiresAt });
    expect(await run(UPDATE, { input: { id, name: 'Renamed' } })).toMatchObject({ expiresAt });
    expect(await run(UPDATE, { input: { id, expiresAt: null } })).toMatchObject({ expiresAt: null });
    expect(harness.keys.get('key_1')?.expiresAt).toBeUndefined();
  });

  test.each(['name', 'scopes', 'models'])('refuses a null as the %s, which every key has', async (field) => {
    const before = harness.keys.get('key_1');
    const answer = await run(UPDATE, { input: { id: idOf('key_1'), [field]: null } });
    expect(answer).toMatchObject({ __typename: 'InvalidRequestError', path: `input.${field}` });
    expect(harness.keys.get('key_1')).toBe(before);
  });

  test('rotating gives another secret to the same key', async () => {
    const rotated = await run(ROTATE, { input: { id: idOf('key_1'), graceSeconds: 60 } });
    expect(rotated).toMatchObject({ __typename: 'IssuedApiKey', apiKey: { id: idOf('key_1') } });
    expect((rotated['apiKey'] as Data)['prefix']).toBe(String(rotated['secret']).slice(0, 12));
  });

  test.each([-1, 2_592_001])('rotating with a grace of %d s is refused', async (graceSeconds) => {
    const answer = await run(ROTATE, { input: { id: idOf('key_1'), graceSeconds } });
    expect(answer).toMatchObject({ __typename: 'InvalidRequestError', path: 'input.graceSeconds' });
  });

  test('revoking ends it, and doing so again changes nothing', async () => {
    const revoked = await run(REVOKE, { input: { id: idOf('key_1') } });
    expect(revoked).toMatchObject({ __typename: 'ApiKey', revokedAt: '2026-01-01T12:00:00.000Z' });
    expect(await run(UPDATE, { input: { id: idOf('key_1'), name: 'x' } })).toMatchObject({
      __typename: 'InvalidRequestError',
    });
  });

  test.each([
    ['of nobody', idOf('key_none')],
    ['of a model', encodeNodeId('Model', 'key_1')],
    ['as the core knows it', 'key_1'],
    ['that is none', ''],
  ])('with an id %s is not found', async (_what, id) => {
    for (const source of [UPDATE, ROTATE, REVOKE]) {
      expect(await run(source, { input: { id } })).toMatchObject({
        __typename: 'NotFoundError',
        code: 'NOT_FOUND',
      });
    }
  });

  test('without the scope is not permitted, as a result', async () => {
    for (const [source, input] of [
      [CREATE, { name: 'Key', scopes: ['CHAT'] }],
      [UPDATE, { id: idOf('key_1') }],
      [ROTATE, { id: idOf('key_1') }],
      [REVOKE, { id: idOf('key_1') }],
    ] as const) {
      expect(await run(source, { input }, ['keys:read'])).toEqual({
        __typename: 'NotPermittedError',
        code: 'NOT_PERMITTED',
        message: 'This API key lacks the scope `keys:write`.',
        retryable: false,
      });
    }
  });
});

describe('looking at keys', () => {
  test('another key is null without the scope, exactly as one that does not exist', async () => {
    harness.keys.set('key_1', apiKey({ keyId: 'key_1' }));
    expect(await run(ONE, { id: idOf('key_1') })).toMatchObject({ name: 'key_1' });
    for (const id of [idOf('key_1'), idOf('key_none'), encodeNodeId('Request', 'key_1'), 'key_1', '🦙']) {
      expect(await run(ONE, { id }, ['chat'])).toBeNull();
    }
    expect(await run(ONE, { id: idOf(CALLER.keyId) }, ['chat'])).toMatchObject({ name: 'caller' });
  });

  test('pages neither overlap nor skip', async () => {
    for (let n = 1; n <= 4; n++) harness.keys.set(`key_${n}`, apiKey({ keyId: `key_${n}` }));
    const names: unknown[] = [];
    let after: unknown = null;
    for (const expected of [2, 2, 1]) {
      const { edges, nodes, pageInfo } = (await run(LIST, { first: 2, after })) as Record<
        string,
        Data[] & Data
      >;
      expect(edges?.map((edge) => edge['node'])).toEqual(nodes);
      expect(pageInfo).toEqual({
        hasNextPage: expected === 2,
        hasPreviousPage: after !== null,
        startCursor: edges?.[0]?.['cursor'],
        endCursor: edges?.at(-1)?.['cursor'],
      });
      names.push(...(nodes ?? []).map((node) => node['name']));
      after = pageInfo?.['endCursor'];
    }
    expect(names).toEqual(['key_4', 'key_3', 'key_2', 'key_1', 'caller']);
  });

  test('a page that is exactly full is the last one', async () => {
    const page = await run(LIST, { first: 1 });
    expect(page).toMatchObject({ pageInfo: { hasNextPage: false } });
  });

  test('filters fit together, and an empty page has no cursors', async () => {
    harness.keys.set('key_1', apiKey({ keyId: 'key_1', revokedAt: new Date(0) }));
    const filter = { name: 'key', isRevoked: true };
    expect(await run(LIST, { filter })).toMatchObject({ nodes: [{ name: 'key_1' }] });
    expect(await run(LIST, { filter: { ...filter, isRevoked: false } })).toEqual({
      edges: [],
      nodes: [],
      pageInfo: { hasNextPage: false, hasPreviousPage: false, startCursor: null, endCursor: null },
    });
    expect(await run(LIST, { filter: { name: 'a\0b' } })).toMatchObject({ nodes: [] });
  });

  test.each<[string, Data]>([
    ['first', { first: 0 }],
    ['first', { first: 101 }],
    ['after', { after: 'not a cursor' }],
    ['after', { after: Buffer.from('a\0b').toString('base64url') }],
    ['after', { after: 'x'.repeat(2000) }],
  ])('a wrong %s is an error at the top level that names it', async (argument, variables) => {
    const { data, errors } = await harness.execute(LIST, variables);
    expect(data).toEqual({ apiKeys: null });
    expect(errors?.map(({ path, extensions }) => ({ path, extensions }))).toEqual([
      { path: ['apiKeys'], extensions: { code: 'INVALID_REQUEST', retryable: false, argument } },
    ]);
  });

  test('the list needs the scope', async () => {
    const context = harness.context({ principal: { ...CALLER, scopes: ['chat'] } });
    const { errors } = await harness.execute(LIST, {}, context);
    expect(errors?.[0]).toMatchObject({
      message: 'This API key lacks the scope `keys:read`.',
      extensions: { code: 'NOT_PERMITTED' },
    });
  });
});
