import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DEFAULT_LIMITS } from '../../../src/schema/serving/limits.ts';
import { type GraphQLHarness, startGraphQLServer } from '../../support/graphql-server.ts';
import { openWsClient, type WsClient } from '../../support/ws-client.ts';

const LIMITS = DEFAULT_LIMITS.document;

let server: GraphQLHarness;
let socket: WsClient;
beforeAll(async () => {
  server = await startGraphQLServer({ maxBodyBytes: 4_000_000 });
  socket = await openWsClient(server.wsUrl);
  await socket.init({ authorization: `Bearer llmgw_graphqlserverkey0123456789` });
});
afterAll(async () => {
  socket.socket.terminate();
  await server.close();
});

let ids = 0;

/** The code and the limit that a document is refused with, or undefined where it is executed: the same on each transport. */
async function refusalOf(query: string, variables: object = {}): Promise<string | undefined> {
  const response = await server.post({ query, variables });
  const body = await response.json();
  const id = String(ids++);
  socket.subscribe(id, query, variables);
  const { type, payload } = await socket.next();
  if (type === 'next') expect((await socket.next()).type).toBe('complete');
  const overHttp = body.errors?.[0]?.extensions;
  const overSocket = type === 'error' ? payload?.[0]?.extensions : payload?.errors?.[0]?.extensions;
  expect(overSocket).toEqual(overHttp);
  if (overHttp !== undefined) expect(response.status).toBe(400);
  return overHttp && [overHttp.code, overHttp.limit].filter(Boolean).join(' ');
}

const times = (count: number, text: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => text(index)).join(' ');
const nested = (levels: number): string => (levels === 1 ? '{ hello }' : `{ self ${nested(levels - 1)} }`);

describe('each limit lets through what is just within it, and nothing more, over HTTP and WebSocket alike', () => {
  test.each([
    ['bytes', (n: number) => `{ hello }${'#'.repeat(n - 9)}`, LIMITS.bytes],
    ['tokens', (n: number) => `{ hello(name: [${'"" '.repeat(n - 9)}]) }`, LIMITS.tokens],
    ['depth', nested, LIMITS.depth],
    ['fields', (n: number) => `{ self { ${times(n - 1, () => 'hello')} } }`, LIMITS.fields],
    ['rootFields', (n: number) => `{ ${times(n, () => 'hello')} }`, LIMITS.rootFields],
    ['aliases', (n: number) => `{ self { ${times(n, (i) => `a${i}: hello`)} } }`, LIMITS.aliases],
    ['directives', (n: number) => `{ hello ${times(n, () => '@include(if: true)')} }`, LIMITS.directives],
    [
      'complexity',
      (n: number) => `{ users(first: ${(n - 1) / 3}) { edges { node { id } } } }`,
      LIMITS.complexity,
    ],
  ] as const)('%s', async (limit, document, maximum) => {
    const within = await refusalOf(document(maximum));
    // Some documents are not valid GraphQL for another reason, which is looked at after the limits.
    expect([undefined, 'GRAPHQL_VALIDATION_FAILED', 'GRAPHQL_PARSE_FAILED']).toContain(within);
    expect(await refusalOf(document(maximum + (limit === 'complexity' ? 3 : 1)))).toBe(
      `DOCUMENT_TOO_COMPLEX ${limit}`,
    );
  });
});

describe('what is counted', () => {
  test('fragments count where they are spread, inline ones too', async () => {
    const inFragment = `fragment F on Query { ${times(30, (i) => `a${i}: hello`)} }`;
    expect(await refusalOf(`{ self { ...F } } ${inFragment}`)).toBeUndefined();
    expect(await refusalOf(`{ self { ...F } b: self { ...F } } ${inFragment}`)).toBe(
      'DOCUMENT_TOO_COMPLEX aliases',
    );
    expect(
      await refusalOf(
        `{ ...F ... { ${times(11, () => 'hello')} } } fragment F on Query { ${times(10, () => 'hello')} }`,
      ),
    ).toBe('DOCUMENT_TOO_COMPLEX rootFields');
  });

  test('page sizes multiply, from literals, variables and defaults', async () => {
    const document = 'query($n: Int) { users(first: $n) { edges { node { id name } } } }';
    expect(await refusalOf(document, { n: 100 })).toBeUndefined();
    expect(await refusalOf(document, { n: 5000 })).toBe('DOCUMENT_TOO_COMPLEX complexity');
    const pages = times(10, (i) => `a${i}: users(first: 400) { edges { node { id name } } }`);
    expect(await refusalOf(`{ ${pages} }`)).toBe('DOCUMENT_TOO_COMPLEX complexity');
  });

  test('the operations that are not meant count for what validating them costs', async () => {
    const big = `query B { self { ${times(LIMITS.fields, () => 'hello')} } }`;
    const response = await server.post({ query: `query A { hello } ${big}`, operationName: 'A' });
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { limit: 'fields' } }] });
  });

  test('the introspection that tools send is within every limit', async () => {
    const { getIntrospectionQuery } = await import('graphql');
    const query = getIntrospectionQuery({
      inputValueDeprecation: true,
      schemaDescription: true,
      specifiedByUrl: true,
      directiveIsRepeatable: true,
      oneOf: true,
    });
    expect(await refusalOf(query)).toBeUndefined();
  });
});

/** Whether other requests are answered while this one is: how many between its start and its end. */
async function servedMeanwhile(act: () => Promise<unknown>): Promise<number> {
  let over = false;
  let served = 0;
  const done = act().finally(() => {
    over = true;
  });
  // At least one goes out before and comes back after the hostile one has been looked at.
  do {
    const response = await server.post({ query: '{ hello }' });
    if (response.status === 200) served++;
  } while (!over);
  await done;
  return served;
}

const fragmentBomb = (levels: number) =>
  `{ ...F0 } ${times(levels, (i) => `fragment F${i} on Query { a: self { ...F${i + 1} } b: self { ...F${i + 1} } }`)} fragment F${levels} on Query { hello }`;

describe('hostile documents are refused with the event loop free', () => {
  test.each([
    ['10,000 aliases', `{ ${times(10_000, (i) => `a${i}: hello`)} }`, /DOCUMENT_TOO_COMPLEX/],
    ['10,000 directives', `{ hello ${times(10_000, () => '@x')} }`, /DOCUMENT_TOO_COMPLEX/],
    ['3,000 times the same field', `{ ${times(3000, () => 'hello')} }`, /DOCUMENT_TOO_COMPLEX/],
    ['a fragment bomb of 2^22 fields', fragmentBomb(22), /DOCUMENT_TOO_COMPLEX/],
    ['a fragment bomb of 2^60 fields', fragmentBomb(60), /DOCUMENT_TOO_COMPLEX/],
    [
      'a circle of fragments',
      '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
      /VALIDATION/,
    ],
    ['a fragment in itself', '{ ...A } fragment A on Query { self { ...A } }', /VALIDATION/],
    ['a deep selection', nested(600), /DOCUMENT_TOO_COMPLEX/],
    ['a deep list', `{ hello(name: ${'['.repeat(1990)}`, /DOCUMENT_TOO_COMPLEX|PARSE_FAILED/],
    ['a deep object', `{ hello(name: ${'{a:'.repeat(650)}`, /DOCUMENT_TOO_COMPLEX|PARSE_FAILED/],
    ['a deep type', `query($a: ${'['.repeat(1990)}`, /DOCUMENT_TOO_COMPLEX|PARSE_FAILED/],
    ['a megabyte of document', `{ hello(name: "${'x'.repeat(1_000_000)}") }`, /DOCUMENT_TOO_COMPLEX bytes/],
    ['many operations', times(600, (i) => `query Q${i}{hello}`), /DOCUMENT_TOO_COMPLEX|RESOLUTION/],
    ['many unknown fields', `{ ${times(490, (i) => `hallo${i}`)} }`, /DOCUMENT_TOO_COMPLEX|VALIDATION/],
  ])('%s', async (_name, query, expected) => {
    let found: string | undefined;
    const served = await servedMeanwhile(async () => {
      found = await refusalOf(query);
    });
    expect(found).toMatch(expected);
    expect(served).toBeGreaterThan(0);
  });

  test.each([
    ['deep', `${'{"i":'.repeat(5000)}1${'}'.repeat(5000)}`, 'BAD_REQUEST'],
    ['very deep', '['.repeat(500_000) + ']'.repeat(500_000), 'BAD_REQUEST'],
    ['wide', `[${'1,'.repeat(500_000)}1]`, 'BAD_USER_INPUT'],
    ['a megabyte in one name', `{"${'x'.repeat(1_000_000)}":1}`, 'BAD_USER_INPUT'],
  ])('%s variables', async (_name, value, expected) => {
    const query = 'mutation($i: Nested!) { take(input: $i) }';
    const served = await servedMeanwhile(async () => {
      const response = await server.post(`{"query":${JSON.stringify(query)},"variables":{"i":${value}}}`);
      const text = await response.text();
      expect([response.status, JSON.parse(text).errors[0].extensions.code]).toEqual([400, expected]);
      expect(text.length).toBeLessThan(50_000);
    });
    expect(served).toBeGreaterThan(0);
  });

  test('names that mean something to JavaScript pollute nothing', async () => {
    const body = `{"query":"mutation($i: Nested!) { take(input: $i) }","__proto__":{"polluted":1},
      "variables":{"i":{"text":"x"},"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}},
      "extensions":{"__proto__":{"persistedQuery":{"sha256Hash":"x"}}}}`;
    const response = await server.post(body);
    expect(await response.json()).toEqual({ data: { take: 'x' } });
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
  });
});
