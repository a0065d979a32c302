import { beforeEach, describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../src/domain/error.ts';
import { decodeNodeId, encodeNodeId, encodeOpaque } from '../../../src/schema/ids.ts';
import { FAKE_MODELS } from '../../support/fake-gateway.ts';
import {
  apiKey,
  CALLER,
  createHarness,
  type Data,
  record,
  type SchemaHarness,
} from '../../support/schema.ts';

const MODEL = `
  id name family parameterSize quantization contextLength embeddingLength capabilities digest sizeBytes modifiedAt
  backends { label isHealthy isLoaded inFlight }
`;
const NODE = `query($id: ID!) {
  node(id: $id) { __typename id ... on ApiKey { name } ... on Model { model: name } ... on Request { requestId } }
}`;
const NODES = 'query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }';

let harness: SchemaHarness;
beforeEach(() => {
  harness = createHarness();
});

const idOf = (name: string) => encodeNodeId('Model', name);

describe('models', () => {
  test('have all that is known of them, and where they are', async () => {
    const [, ...backends] = [
      harness.backends,
      ...harness.backends,
      {
        id: 'ollama-2',
        healthy: false,
        models: new Map([FAKE_MODELS[0]].map((m) => [m?.id ?? '', m])),
        loaded: new Set<string>(),
        inFlight: 0,
      },
      { id: 'ollama-3', healthy: true, models: new Map(), loaded: new Set<string>(), inFlight: 0 },
    ];
    harness.backends = backends as typeof harness.backends;
    const { models } = (await harness.run(`{ models { ${MODEL} } }`)) as { models: Data[] };
    expect(models).toHaveLength(FAKE_MODELS.length);
    expect(models[0]).toEqual({
      id: idOf('llama3.1:8b'),
      name: 'llama3.1:8b',
      family: 'llama',
      parameterSize: '8.0B',
      quantization: 'Q4_K_M',
      contextLength: 131_072,
      embeddingLength: null,
      capabilities: ['COMPLETION', 'TOOLS'],
      digest: null,
      sizeBytes: null,
      modifiedAt: '2026-01-02T03:04:05.000Z',
      backends: [
        { label: 'ollama-1', isHealthy: true, isLoaded: true, inFlight: 2 },
        { label: 'ollama-2', isHealthy: false, isLoaded: false, inFlight: 0 },
      ],
    });
    expect(models[1]).toMatchObject({ capabilities: ['EMBEDDING'], backends: [{ isLoaded: false }] });
  });

  test('are found by id and by name', async () => {
    for (const id of [idOf('acme/bot:1b'), 'acme/bot:1b']) {
      expect(await harness.run('query($id: ID!) { model(id: $id) { name } }', { id })).toEqual({
        model: { name: 'acme/bot:1b' },
      });
    }
  });

  test.each(['nothing', '', encodeNodeId('ApiKey', 'llama3.1:8b'), '🦙'])('%j is none', async (id) => {
    expect(await harness.run('query($id: ID!) { model(id: $id) { name } }', { id })).toEqual({ model: null });
  });

  test('need the scope', async () => {
    const context = harness.context({ principal: { ...CALLER, scopes: [] } });
    for (const source of ['{ models { id } }', '{ model(id: "llama3.1:8b") { id } }']) {
      const { errors } = await harness.execute(source, {}, context);
      expect(errors?.[0]?.extensions).toMatchObject({ code: 'NOT_PERMITTED' });
    }
    const { data } = await harness.execute('{ viewer { name } models { id } }', {}, context);
    expect(data).toEqual({ viewer: { name: 'caller' }, models: null });
  });

  test('say when no model server is there', async () => {
    harness.gateway.listModels = () => {
      throw new GatewayError('upstream_unavailable', 'None.', { retryAfterMs: 2000 });
    };
    const { errors } = await harness.execute('{ models { id } }');
    expect(errors?.[0]?.extensions).toEqual({
      code: 'UPSTREAM_UNAVAILABLE',
      retryable: true,
      retryAfterMs: 2000,
    });
  });
});

describe('nodes', () => {
  beforeEach(() => {
    harness.keys.set('key_other', apiKey({ keyId: 'key_other' }));
    harness.records.push(record({ id: 'r1' }), record({ id: 'r2', keyId: 'key_other' }));
  });

  test.each([
    ['ApiKey', 'key_other', { name: 'key_other' }],
    ['Model', 'llama3.1:8b', { model: 'llama3.1:8b' }],
    ['Request', 'r1', { requestId: 'req_r1' }],
  ] as const)('a %s is found by its id, and has it', async (type, id, fields) => {
    const nodeId = encodeNodeId(type, id);
    expect((await harness.run(NODE, { id: nodeId }))['node']).toEqual({
      __typename: type,
      id: nodeId,
      ...fields,
    });
  });

  test("another's is null exactly as what does not exist and what is no id", async () => {
    const ids = [
      ...[encodeNodeId('ApiKey', 'key_other'), encodeNodeId('ApiKey', 'key_none')],
      ...[encodeNodeId('Request', 'r2'), encodeNodeId('Request', 'r0'), encodeNodeId('Model', 'none')],
      ...[
        '',
        'x',
        'key_other',
        '%',
        '🦙',
        'A'.repeat(5000),
        encodeOpaque('Query:1'),
        encodeOpaque('ApiKey:'),
      ],
      ...[encodeOpaque('__proto__:x'), `${encodeNodeId('ApiKey', 'key_caller')}=`],
    ];
    for (const scopes of [['chat', 'usage:read'], []] as const) {
      const context = harness.context({ principal: { ...CALLER, scopes } });
      for (const id of ids) {
        const { data, errors } = await harness.execute(NODE, { id }, context);
        expect([id, data?.['node'], errors]).toEqual([id, null, undefined]);
      }
    }
  });

  test('several come in their order, with null for what is not there', async () => {
    const ids = [encodeNodeId('Request', 'r1'), 'nothing', idOf('llama3.1:8b')];
    expect((await harness.run(NODES, { ids }))['nodes']).toEqual([
      { __typename: 'Request', id: ids[0] },
      null,
      { __typename: 'Model', id: ids[2] },
    ]);
  });

  test('at most 50 at once', async () => {
    const ids = Array.from({ length: 51 }, () => 'x');
    expect((await harness.run(NODES, { ids: ids.slice(1) }))['nodes']).toHaveLength(50);
    const { errors } = await harness.execute(NODES, { ids });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_REQUEST', argument: 'ids' });
  });

  test('an id is read back as it was written, whatever is in it', () => {
    for (const id of ['a', 'a:b:c', 'Ünïcode 🦙', 'x'.repeat(500)]) {
      expect(decodeNodeId(encodeNodeId('Model', id))).toEqual({ type: 'Model', id });
    }
  });

  test('a database that is away is an error, not an absence', async () => {
    const failure = new GatewayError('storage_unavailable', 'Away.');
    harness.gateway.administration = {
      ...harness.gateway.administration,
      getKey: () => Promise.reject(failure),
    };
    const { errors } = await harness.execute(NODE, { id: encodeNodeId('ApiKey', 'key_other') });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'STORAGE_UNAVAILABLE' });
  });
});
