import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DEFAULT_LIMITS } from '../../../src/schema/serving/limits.ts';
import { type GraphQLProcess, startGraphQLProcess } from '../../support/graphql-process.ts';
import { BEARER } from '../../support/graphql-server.ts';
import { HOSTILE_DOCUMENTS, HOSTILE_VARIABLES, nested, times } from '../../support/hostile-documents.ts';
import { openWsClient, type WsClient } from '../../support/ws-client.ts';

const LIMITS = DEFAULT_LIMITS.document;

let server: GraphQLProcess;
let socket: WsClient;
beforeAll(async () => {
  server = await startGraphQLProcess();
  socket = await openWsClient(server.wsUrl);
  await socket.init({ authorization: BEARER });
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
    const preset = 'query($n: Int = 5000) { users(first: $n) { edges { node { id name } } } }';
    expect(await refusalOf(preset)).toBe('DOCUMENT_TOO_COMPLEX complexity');
    expect(await refusalOf(preset, { n: 100 })).toBeUndefined();
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
  // Where the server hangs, the loop below fails before anybody looks at this.
  done.catch(() => undefined);
  // At least one goes out before and comes back after the hostile one has been looked at.
  do {
    const response = await server.post({ query: '{ hello }' });
    if (response.status === 200) served++;
  } while (!over);
  await done;
  return served;
}

describe('hostile documents are refused with the event loop free', () => {
  test.each(HOSTILE_DOCUMENTS)('%s', async (_name, query, expected) => {
    let found: string | undefined;
    const served = await servedMeanwhile(async () => {
      found = await refusalOf(query);
    });
    expect(found).toMatch(expected);
    expect(served).toBeGreaterThan(0);
  });

  test.each(HOSTILE_VARIABLES)('%s variables', async (_name, body, expected) => {
    const served = await servedMeanwhile(async () => {
      const response = await server.post(body);
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
