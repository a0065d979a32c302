import { beforeEach, describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../src/domain/error.ts';
import { encodeNodeId } from '../../../src/schema/ids.ts';
import { createHarness, type Data, type SchemaHarness } from '../../support/schema.ts';

const CREATE = `mutation($input: EmbeddingsInput!) {
  createEmbeddings(input: $input) {
    __typename
    ... on Embeddings {
      completionId model warnings data { index vector base64 } usage { promptTokens totalTokens } timings { totalMs }
    }
    ... on Error { code message }
    ... on InvalidRequestError { path }
  }
}`;

const INPUT = { model: 'nomic-embed-text:latest', input: ['ab', 'abc'] };

let harness: SchemaHarness;
beforeEach(() => {
  harness = createHarness();
});

async function create(input: Data): Promise<Data> {
  return (await harness.run(CREATE, { input }))['createEmbeddings'] as Data;
}

test('one vector for each text, as numbers and as bytes', async () => {
  const answer = await create(INPUT);
  const bytes = (values: readonly number[]) =>
    Buffer.from(new Float32Array(values).buffer).toString('base64');
  expect(answer).toEqual({
    __typename: 'Embeddings',
    completionId: encodeNodeId('Request', 'x0'),
    model: 'nomic-embed-text:latest',
    data: [
      { index: 0, vector: [2, 0.5, -1], base64: bytes([2, 0.5, -1]) },
      { index: 1, vector: [3, 0.5, -1], base64: bytes([3, 0.5, -1]) },
    ],
    warnings: [],
    usage: { promptTokens: 7, totalTokens: 7 },
    timings: { totalMs: 1 },
  });
  expect(harness.fake.callers).toEqual([
    expect.objectContaining({ protocol: 'graphql', operation: 'embedding', streamed: false }),
  ]);
});

test('every parameter reaches the core, and the limits the context', async () => {
  harness.fake.limits = harness.limits;
  const context = harness.context();
  await harness.run(CREATE, { input: { ...INPUT, dimensions: 2, keepAliveSeconds: 30 } }, context);
  expect(harness.fake.requests).toEqual([
    {
      kind: 'embedding',
      model: 'nomic-embed-text:latest',
      inputs: ['ab', 'abc'],
      dimensions: 2,
      keepAlive: 30,
    },
  ]);
  expect(context.rateLimit).toBe(harness.limits);
});

describe('a wrong input is answered with its place, and nothing reaches the core', () => {
  test.each<[string, Data]>([
    ['input.model', { model: '' }],
    ['input.input', { input: [] }],
    ['input.input', { input: Array.from({ length: 2049 }, () => 'a') }],
    ['input.input[1]', { input: ['a', ''] }],
    ['input.dimensions', { dimensions: 0 }],
  ])('%s', async (path, change) => {
    expect(await create({ ...INPUT, ...change })).toMatchObject({ __typename: 'InvalidRequestError', path });
    expect(harness.fake.requests).toEqual([]);
  });
});

test('a failure of the core is a result', async () => {
  harness.fake.vector = () => {
    throw new GatewayError('upstream_busy', 'Busy.');
  };
  expect(await create(INPUT)).toEqual({
    __typename: 'UpstreamUnavailableError',
    code: 'UPSTREAM_BUSY',
    message: 'Busy.',
  });
});
