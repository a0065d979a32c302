import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { FAKE_KEY } from '../../support/fake-gateway.ts';
import { type RestServer, startRestServer } from '../../support/rest-server.ts';

let server: RestServer;
beforeAll(async () => {
  server = await startRestServer();
});
afterAll(() => server.close());

describe('/cors-test', () => {
  test('is a page that needs no key and loads nothing from anywhere', async () => {
    const response = await fetch(`${server.url}/cors-test`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(await response.text()).not.toMatch(/\ssrc=|<link(?! rel="icon" href="data:,">)|@import|url\(/);
  });

  test('runs under a policy that lets only its own script and style in', async () => {
    const response = await fetch(`${server.url}/cors-test`);
    const html = await response.text();
    const policy = response.headers.get('content-security-policy')?.split('; ');
    const digestOf = (element: string) => {
      const [, text = ''] = new RegExp(`<${element}[^>]*>(.*?)</${element}>`, 's').exec(html) ?? [];
      return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    };
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain(`script-src ${digestOf('script')}`);
    expect(policy).toContain(`style-src ${digestOf('style')}`);
    expect(policy).toContain("form-action 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    // What is inline besides would be refused.
    expect(html).not.toMatch(/\s(?:style|on\w+)=/);
  });

  test('is found from the index', async () => {
    const index = await (await fetch(server.url)).json();
    expect(index).toMatchObject({ browser_test: '/cors-test' });
  });

  test('is not there in production, with a key or without', async () => {
    const production = await startRestServer({ config: { production: true } });
    try {
      for (const headers of [{}, { authorization: `Bearer ${FAKE_KEY}` }]) {
        const response = await fetch(`${production.url}/cors-test`, { headers });
        expect(response.status).toBe(404);
      }
      expect(await (await fetch(production.url)).json()).not.toHaveProperty('browser_test');
    } finally {
      await production.close();
    }
  });
});
