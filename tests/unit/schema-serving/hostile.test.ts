import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { MAX_JSON_VALUES } from '../../../src/http/json-bounds.ts';
import { DEFAULT_LIMITS, MAX_JSON_NAMES } from '../../../src/schema/serving/limits.ts';
import { type GraphQLProcess, startGraphQLProcess } from '../../support/graphql-process.ts';
import { BEARER } from '../../support/graphql-server.ts';
import {
  COSTLY_DOCUMENT,
  HOSTILE_BODIES,
  HOSTILE_DOCUMENTS,
  nested,
  times,
} from '../../support/hostile-documents.ts';
import { openWsClient, type WsClient } from '../../support/ws-client.ts';

const LIMITS = DEFAULT_LIMITS.document;

let server: GraphQLProcess;
let socket: WsClient;
beforeAll(async () => {
  server = await startGraphQLProcess();
  socket = await openSocket();
});
afterAll(async () => {
  socket.socket.terminate();
  await server.close();
});

async function openSocket(): Promise<WsClient> {
  const client = await openWsClient(server.wsUrl);
  await client.init({ authorization: BEARER });
  return client;
}

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

/** So many fields, all of them in different places, within the limits on depth and on aliases. */
function spreadOut(fields: number): string {
  const inside = (count: number): string =>
    count > 4
      ? `hello executed requestId __typename self { ${inside(count - 5)} }`
      : ['hello', 'executed', 'requestId', '__typename'].slice(0, count).join(' ');
  const trees: string[] = [];
  for (let left = fields; left > 0; left -= 70) {
    trees.push(`a${left}: self { ${inside(Math.min(left, 70) - 1)} }`);
  }
  return `{ ${trees.join(' ')} }`;
}

describe('each limit lets through what is just within it, and nothing more, over HTTP and WebSocket alike', () => {
  test.each([
    ['bytes', (n: number) => `{ hello }${'#'.repeat(n - 9)}`, LIMITS.bytes],
    ['tokens', (n: number) => `{ hello(name: [${'"" '.repeat(n - 9)}]) }`, LIMITS.tokens],
    ['depth', nested, LIMITS.depth],
    ['lines', (n: number) => `{ hello }${'\n'.repeat(n - 1)}`, LIMITS.lines],
    ['nesting', (n: number) => `{ hello(name: ${'['.repeat(n - 2)}${']'.repeat(n - 2)}) }`, LIMITS.nesting],
    ['fields', spreadOut, LIMITS.fields],
    [
      'pairs',
      // 45 of one make 990 pairs, and 5 make 10.
      (n: number) =>
        `{ self { ${times(45, () => 'hello')} ${times(5, () => 'executed')} ${times(n - 999, () => '__typename')} } }`,
      LIMITS.pairs,
    ],
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

/** What comes of a request with these variables, which its document does not use. */
async function answersTo(variables: string): Promise<readonly [string, string]> {
  const request = `{"query":"{hello}","variables":${variables}}`;
  const overHttp = await (await server.post(request)).json();
  const client = await openSocket();
  client.send(`{"id":"a","type":"subscribe","payload":${request}}`);
  const overSocket = await Promise.race([client.next(), client.closed]);
  client.socket.terminate();
  return [
    overHttp.errors ? `${overHttp.errors[0].extensions.code} ${overHttp.errors[0].message}` : 'executed',
    'reason' in overSocket ? `${overSocket.code} ${overSocket.reason}` : 'executed',
  ];
}

describe('the JSON of a request may hold so much, and no more', () => {
  const list = (count: number) => `{"x":[${new Array(count).fill(1).join(',')}]}`;
  const names = (count: number) =>
    `{${Array.from({ length: count }, (_, index) => `"a${index}":1`).join(',')}}`;

  /** What the request holds besides: over HTTP, and what a message over WebSocket wraps around it. */
  test.each([
    [
      'levels',
      (n: number) => `{"x":${'['.repeat(n - 2)}${']'.repeat(n - 2)}}`,
      100,
      0,
      /deeper than 10[01] levels/,
    ],
    ['values', (n: number) => list(n - 3), MAX_JSON_VALUES, 3, /more than 100000 values/],
    ['names', (n: number) => names(n - 2), MAX_JSON_NAMES.count, 3, /more than 2000 different names/],
    [
      'bytes of a name',
      (n: number) => `{"${'x'.repeat(n)}":1}`,
      MAX_JSON_NAMES.bytes,
      0,
      /name longer than 200 bytes/,
    ],
  ] as const)('%s', async (_name, variables, maximum, wrapped, refusal) => {
    expect(await answersTo(variables(maximum - wrapped))).toEqual(['executed', 'executed']);
    const [, overSocket] = await answersTo(variables(maximum - wrapped + 1));
    expect(overSocket).toMatch(/^4400 The message /);
    expect(overSocket).toMatch(refusal);
    if (wrapped > 0) expect((await answersTo(variables(maximum)))[0]).toBe('executed');
    const [overHttp] = await answersTo(variables(maximum + 1));
    expect(overHttp).toMatch(/^BAD_REQUEST The request /);
    expect(overHttp).toMatch(refusal);
  });

  test('a document is not even parsed as JSON where it would be too long however it is escaped', async () => {
    const longest = 6 * LIMITS.bytes;
    for (const [length, closed] of [
      [longest, false],
      [longest + 1, true],
    ] as const) {
      const request = `{"query":"${'x'.repeat(length)}"}`;
      const { errors } = await (await server.post(request)).json();
      expect(errors[0].extensions).toEqual({
        code: 'DOCUMENT_TOO_COMPLEX',
        limit: 'bytes',
        maximum: LIMITS.bytes,
      });
      const client = await openSocket();
      client.send(`{"id":"a","type":"subscribe","payload":${request}}`);
      const answer = await Promise.race([client.next(), client.closed]);
      client.socket.terminate();
      if (closed)
        expect(answer).toEqual({ code: 4400, reason: `The message has a text longer than ${longest} bytes` });
      else expect(answer).toMatchObject({ type: 'error', payload: errors });
    }
    const escaped = Array.from(
      '{ hello }',
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    const spaces = '\\u0020'.repeat(LIMITS.bytes - escaped.length);
    const response = await server.post(`{"query":"${escaped.join('')}${spaces}"}`);
    expect(await response.json()).toEqual({ data: { hello: 'Hello world' } });
  });

  test('a chat of a thousand messages, and two thousand inputs of tokens, are far from it', async () => {
    const message = {
      role: 'USER',
      content: [{ text: 'x'.repeat(100) }, { toolCall: { id: 'a', name: 'b' } }],
    };
    const messages = JSON.stringify({ input: { messages: new Array(1000).fill(message) } });
    expect(await answersTo(messages)).toEqual(['executed', 'executed']);
    const input = JSON.stringify({ input: { tokens: new Array(2000).fill(new Array(40).fill(50_256)) } });
    expect(await answersTo(input)).toEqual(['executed', 'executed']);
  });
});

/** The longest that the server kept everybody else waiting while this was done, in milliseconds. */
async function delayDuring(act: () => Promise<unknown>): Promise<number> {
  await server.figures();
  await act();
  return (await server.figures()).longestDelayMs;
}

async function executeCostly(): Promise<void> {
  const response = await server.post({ query: COSTLY_DOCUMENT });
  await response.arrayBuffer();
  expect(response.status).toBe(200);
}

const ROUNDS = { least: 3, most: 12 };

/**
 * Expects that what is refused keeps others waiting no longer than about the most that is executed. Both are taken in turns
 * and at their shortest: the machine has more to do than this, and code that has not run often yet is slow.
 */
async function expectFreeLoop(act: () => Promise<unknown>): Promise<void> {
  let refused = Number.POSITIVE_INFINITY;
  let executed = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS.most; round++) {
    refused = Math.min(refused, await delayDuring(act));
    executed = Math.min(executed, await delayDuring(executeCostly));
    if (round + 1 >= ROUNDS.least && refused < 3 * executed) return;
  }
  expect(refused).toBeLessThan(3 * executed);
}

describe('hostile documents are refused with the event loop free', () => {
  beforeAll(async () => {
    for (let round = 0; round < 20; round++) await executeCostly();
  });

  test.each(HOSTILE_DOCUMENTS)('%s', async (_name, query, expected) => {
    await expectFreeLoop(async () => expect(await refusalOf(query)).toMatch(expected));
  });

  test.each(HOSTILE_BODIES)('%s', async (_name, body, expected) => {
    await expectFreeLoop(async () => {
      const response = await server.post(body);
      const text = await response.text();
      expect([response.status, JSON.parse(text).errors[0].extensions.code]).toEqual([400, expected]);
      expect(text.length).toBeLessThan(2000);
    });
  });

  test.each(HOSTILE_BODIES)('%s, over WebSocket', async (_name, body, expected) => {
    const client = await openSocket();
    client.send(`{"id":"a","type":"subscribe","payload":${body}}`);
    if (expected === 'BAD_USER_INPUT') {
      const { type, payload } = await client.next();
      expect([type, payload?.[0]?.extensions.code]).toEqual(['error', expected]);
      client.socket.terminate();
    } else {
      expect(await client.closed).toMatchObject({ code: 4400, reason: expect.stringMatching(/\d/) });
    }
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
