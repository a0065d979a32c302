import { afterEach, describe, expect, test } from '@jest/globals';
import { getIntrospectionQuery, parse, validate } from 'graphql';
import { createSchema } from '../../../src/schema/index.ts';
import { EXAMPLES } from '../../../src/schema/serving/graphiql.ts';
import type { GraphQLServerConfig } from '../../../src/schema/serving/index.ts';
import { parseManifest } from '../../../src/schema/serving/persisted.ts';
import { BEARER, type GraphQLHarness, KEY, startGraphQLServer } from '../../support/graphql-server.ts';
import { openWsClient } from '../../support/ws-client.ts';

const opened: GraphQLHarness[] = [];
afterEach(async () => {
  for (const server of opened.splice(0)) await server.close();
});

async function start(config: Partial<GraphQLServerConfig> = {}): Promise<GraphQLHarness> {
  const server = await startGraphQLServer(config);
  opened.push(server);
  return server;
}

/** The first error's message, over WebSocket. */
async function refusedOverSocket(server: GraphQLHarness, payload: object): Promise<string | undefined> {
  const client = await openWsClient(server.wsUrl);
  await client.init({ authorization: BEARER });
  client.send({ id: 'a', type: 'subscribe', payload });
  const { type, payload: answer } = await client.next();
  client.socket.terminate();
  return type === 'error' ? answer?.[0]?.message : undefined;
}

describe('in production', () => {
  test('introspection is refused, over HTTP and WebSocket', async () => {
    const server = await start({ production: true });
    for (const query of [getIntrospectionQuery(), '{ __type(name: "Query") { name } }']) {
      const response = await server.post({ query });
      expect([response.status, await response.text()]).toEqual([
        400,
        expect.stringContaining('introspection'),
      ]);
      expect(await refusedOverSocket(server, { query })).toContain('introspection');
    }
    expect(await (await server.post({ query: '{ __typename }' })).json()).toEqual({
      data: { __typename: 'Query' },
    });
  });

  test('messages suggest nothing, over HTTP and WebSocket', async () => {
    const inputs = { query: 'mutation($i: Nested!) { take(input: $i) }', variables: { i: { txt: 'x' } } };
    for (const production of [true, false]) {
      const server = await start({ production });
      for (const [body, suggestion] of [
        [{ query: '{ helo }' }, 'Did you mean'],
        [inputs, 'It has text'],
      ] as const) {
        const overHttp = await (await server.post(body)).text();
        const overSocket = await refusedOverSocket(server, body);
        expect(overSocket).toEqual(expect.any(String));
        expect([overHttp.includes(suggestion), overSocket?.includes(suggestion)]).toEqual([
          !production,
          !production,
        ]);
      }
    }
  });

  test('there is no GraphiQL', async () => {
    const server = await start({ production: true });
    expect((await fetch(server.url, { headers: { accept: 'text/html' } })).status).toBe(406);
  });
});

describe('GraphiQL', () => {
  test('is one page without a key, that loads nothing from anywhere', async () => {
    const server = await start({ exampleKey: KEY });
    const response = await fetch(server.url, {
      headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' },
    });
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'text/html; charset=utf-8',
    ]);
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/https?:/);
    const page = await response.text();
    expect(page).not.toMatch(/<(?:script|link|img)[^>]+(?:src|href)="https?:/);
    expect(page).toContain(KEY);
    expect(page).toContain('StreamAnswer');
    expect(server.authorizations).toEqual([]);
  });

  test('is compressed as the browser can read it, is kept, and is asked about again', async () => {
    const server = await start();
    const visit = (headers: Readonly<Record<string, string>>) =>
      fetch(server.url, { headers: { accept: 'text/html', ...headers } });
    const plain = await visit({ 'accept-encoding': 'identity' });
    const page = await plain.text();
    expect(plain.headers.get('content-encoding')).toBeNull();
    for (const [accepted, encoding] of [
      ['gzip, deflate, br, zstd', 'br'],
      ['gzip, deflate', 'gzip'],
      ['br;q=0, gzip;q=0.5', 'gzip'],
    ] as const) {
      const response = await visit({ 'accept-encoding': accepted });
      expect(response.headers.get('content-encoding')).toBe(encoding);
      expect(Number(response.headers.get('content-length'))).toBeLessThan(page.length / 3);
      expect(response.headers.get('cache-control')).toBe('private, no-cache');
      expect(response.headers.get('vary')).toBe('Accept, Accept-Encoding');
      expect((await response.text()) === page).toBe(true);

      const etag = response.headers.get('etag') ?? '';
      const again = await visit({ 'accept-encoding': accepted, 'if-none-match': etag });
      expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag]);
      const other = await visit({ 'accept-encoding': 'identity', 'if-none-match': etag });
      expect([other.status, await other.text()]).toEqual([200, page]);
    }
  });

  test('is found at the address of what is being edited, which it keeps up to date itself', async () => {
    const server = await start();
    const response = await fetch(`${server.url}?query={hello}`, { headers: { accept: 'text/html' } });
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'text/html; charset=utf-8',
    ]);
    await response.body?.cancel();
    expect(server.executed()).toBe(0);
  });

  test('its example operations are valid', () => {
    const schema = createSchema();
    for (const query of EXAMPLES) expect(validate(schema, parse(query)).map(String)).toEqual([]);
  });

  test('introspection needs a key, as everything that is executed', async () => {
    const server = await start();
    expect((await server.post({ query: getIntrospectionQuery() }, { authorization: '' })).status).toBe(401);
    expect((await server.post({ query: getIntrospectionQuery() })).status).toBe(200);
  });
});

describe('pages of other origins', () => {
  test('with * any may read any answer, without credentials; with a list only those on it', async () => {
    for (const [corsOrigins, origin, allowed] of [
      ['*', 'https://evil.example', '*'],
      [['https://app.example'], 'https://app.example', 'https://app.example'],
      [['https://app.example'], 'https://evil.example', null],
    ] as const) {
      const server = await start({ corsOrigins });
      for (const key of [BEARER, 'wrong']) {
        const { headers } = await server.post({ query: '{ hello }' }, { origin, authorization: key });
        expect(headers.get('access-control-allow-origin')).toBe(allowed);
        expect(headers.has('access-control-allow-credentials')).toBe(false);
        expect(headers.get('access-control-expose-headers')).toContain('x-request-id');
      }
    }
  });

  test('a preflight is answered without a key', async () => {
    const server = await start();
    const headers = {
      origin: 'https://app.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    };
    const response = await fetch(server.url, { method: 'OPTIONS', headers });
    expect([response.status, response.headers.get('access-control-allow-headers')]).toEqual([
      204,
      'authorization,content-type',
    ]);
  });
});

describe('persisted documents', () => {
  const manifest = new Map([['abc', 'query Hello($n: String) { hello(name: $n) }']]);

  test('are named by documentId or by hash, over HTTP and WebSocket', async () => {
    const server = await start({ persisted: { manifest, only: true } });
    const variables = { n: 'Ada' };
    const hash = { extensions: { persistedQuery: { version: 1, sha256Hash: 'abc' } } };
    for (const body of [
      { documentId: 'abc', variables },
      { ...hash, variables },
      { query: '', ...hash, variables },
    ]) {
      expect(await (await server.post(body)).json()).toEqual({ data: { hello: 'Hello Ada' } });
    }
    const response = await server.get({
      extensions: JSON.stringify(hash.extensions),
      variables: '{"n":"Ada"}',
    });
    expect(await response.json()).toEqual({ data: { hello: 'Hello Ada' } });
    expect(await refusedOverSocket(server, { query: '', ...hash })).toBeUndefined();
  });

  test('where they are the only ones, any other document is refused, over HTTP and WebSocket', async () => {
    const server = await start({ persisted: { manifest, only: true } });
    for (const [body, code] of [
      [{ query: '{ hello }' }, 'PERSISTED_DOCUMENT_REQUIRED'],
      [{ query: '{ hello }', documentId: 'unknown' }, 'PERSISTED_QUERY_NOT_FOUND'],
      [{ documentId: '__proto__' }, 'PERSISTED_QUERY_NOT_FOUND'],
    ] as const) {
      const response = await server.post(body);
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { errors: [{ extensions: { code } }] },
      ]);
    }
    expect(await refusedOverSocket(server, { query: '{ hello }' })).toContain('Only persisted documents');
    expect(server.executed()).toBe(0);
  });

  test('where others may be sent, an unknown hash is no harm beside a document', async () => {
    const server = await start({ persisted: { manifest, only: false } });
    const extensions = { persistedQuery: { sha256Hash: 'unknown' } };
    expect((await server.post({ query: '{ hello }', extensions })).status).toBe(200);
    expect(await (await server.post({ extensions })).text()).toContain('PersistedQueryNotFound');
  });

  test('manifests are read as the tools write them', () => {
    const document = '{ hello }';
    const apollo = {
      format: 'apollo-persisted-query-manifest',
      version: 1,
      operations: [{ id: 'abc', name: 'Hello', type: 'query', body: document }],
    };
    for (const json of [{ abc: document }, apollo]) {
      expect([...parseManifest(JSON.stringify(json))]).toEqual([['abc', document]]);
    }
    for (const text of [
      '[]',
      '7',
      '{"abc":1}',
      '{"operations":[{"id":"abc"}]}',
      '{"operations":[null]}',
      '{',
    ]) {
      expect(() => parseManifest(text)).toThrow();
    }
  });
});

describe('what goes wrong inside', () => {
  test('is masked and logged once, with the request id and without its message', async () => {
    const server = await start();
    for (const query of ['{ broken }', '{ unserialisable }']) {
      const response = await server.post({ query });
      const text = await response.text();
      const requestId = response.headers.get('x-request-id');
      expect([response.status, JSON.parse(text)]).toMatchObject([
        200,
        { errors: [{ extensions: { code: 'INTERNAL', requestId } }] },
      ]);
      expect(text).not.toContain('secret');
      expect(server.logs.at(-1)?.fields).toMatchObject({ request_id: requestId });
    }
    expect(server.logs).toHaveLength(2);
    expect(JSON.stringify(server.logs)).not.toContain('secret');
  });

  test('in authentication is a masked 500', async () => {
    const server = await start();
    server.failAuthentication(new TypeError('a secret came out'));
    const response = await server.post({ query: '{ hello }' });
    expect([response.status, await response.json()]).toMatchObject([
      500,
      { errors: [{ extensions: { code: 'INTERNAL' } }] },
    ]);
  });
});
