import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { PUBLIC_PATHS } from '../../../src/rest/auth.ts';
import { createOpenApiDocument } from '../../../src/rest/openapi.ts';
import { type RestServer, startRestServer } from '../../support/rest-server.ts';

let server: RestServer;
beforeAll(async () => {
  server = await startRestServer();
});
afterAll(() => server.close());

const document = createOpenApiDocument('1.2.3');
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

describe('the OpenAPI document', () => {
  test('is served, without a key', async () => {
    const response = await fetch(`${server.url}/openapi.json`);
    expect(await response.json()).toEqual(JSON.parse(JSON.stringify(document)));
  });

  const examples = operations.flatMap(({ path, method, operation }) =>
    Object.entries(operation.requestBody?.content['application/json'].examples ?? {}).map(
      ([name, example]) => [`${method} ${path} ${name}`, path, example as { value: object }] as const,
    ),
  );
  test.each(examples)('has examples that the server takes: %s', async (_name, path, { value }) => {
    const response = await server.post(path, value);
    expect([response.status, await response.text()]).toEqual([200, expect.any(String)]);
    expect(response.headers.get('x-ignored-parameters')).toBeNull();
  });
  test('has at least one example per request body', () => {
    expect(examples.length).toBeGreaterThanOrEqual(operations.filter((o) => o.operation.requestBody).length);
  });

  test('describes every route, and marks as open exactly those that are', async () => {
    for (const { path, method, operation } of operations) {
      expect([path, operation.security !== undefined]).toEqual([path, PUBLIC_PATHS.includes(path)]);
      const response = await server.fetch(path.replace('{id}', 'llama3.1:8b'), {
        method: method.toUpperCase(),
      });
      expect([path, response.status === 404 || response.status === 405]).toEqual([path, false]);
      await response.arrayBuffer();
    }
  });

  test('refers only to schemas that it has', () => {
    const json = JSON.stringify(document);
    const references = [...json.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(
      (match) => match[1],
    );
    expect(references.length).toBeGreaterThan(0);
    expect(references.filter((name) => !Object.hasOwn(document.components.schemas, name ?? ''))).toEqual([]);
    expect(json.match(/"\$ref":"(?!#\/components\/schemas\/)/)).toBeNull();
    expect(json).not.toContain('"$id"');
  });
});

describe('the documentation page', () => {
  test('shows every operation and parameter, and loads and runs nothing', async () => {
    const response = await fetch(`${server.url}/docs`);
    expect(response.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; style-src 'sha256-/,
    );
    const html = await response.text();
    for (const { path } of operations) expect(html).toContain(`<code>${path}</code>`);
    expect(html).toContain('<code>max_completion_tokens</code>');
    expect(html).not.toMatch(/<script|<link|<img|src=|https?:\/\//);
  });
});
