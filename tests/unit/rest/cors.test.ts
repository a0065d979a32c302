import { describe, expect, test } from '@jest/globals';
import { type RestServer, startRestServer } from '../../support/rest-server.ts';

const STAINLESS =
  'authorization,content-type,x-stainless-arch,x-stainless-helper-method,x-stainless-retry-count';

async function withServer(corsOrigins: '*' | string[], act: (server: RestServer) => Promise<void>) {
  const server = await startRestServer({ config: { corsOrigins } });
  try {
    await act(server);
  } finally {
    await server.close();
  }
}

const from = (origin: string, init: RequestInit = {}): RequestInit => ({
  ...init,
  headers: { origin, ...init.headers },
});

describe('cross-origin requests', () => {
  test('with * any page may read any answer, failures too, but never with credentials', () =>
    withServer('*', async (server) => {
      for (const [path, init] of [
        ['/v1/models', {}],
        ['/v1/models', { headers: { authorization: 'Bearer wrong' } }],
        ['/v1/nothing', {}],
        ['/v1/chat/completions', { method: 'POST', body: 'x'.repeat(1_100_000) }],
        ['/health', {}],
      ] as const) {
        const { headers } = await server.fetch(path, from('https://a.example', init));
        expect(headers.get('access-control-allow-origin')).toBe('*');
        expect(headers.get('access-control-allow-credentials')).toBeNull();
        expect(headers.get('access-control-expose-headers')).toMatch(
          /x-request-id.*x-ratelimit-limit-requests.*retry-after/,
        );
      }
    }));

  test('who sends no Origin, as no other client than a browser does, is not told what pages may read', () =>
    withServer('*', async (server) => {
      const { headers } = await server.fetch('/v1/models');
      expect(headers.get('access-control-expose-headers')).toBeNull();
    }));

  test('with a list only a listed origin is echoed, once, and caches are told', () =>
    withServer(['https://a.example', 'https://b.example'], async (server) => {
      const allowed = async (origin: string) => {
        const { headers } = await server.fetch('/v1/models', from(origin));
        expect(headers.get('vary')).toContain('Origin');
        return headers.get('access-control-allow-origin');
      };
      expect(await allowed('https://b.example')).toBe('https://b.example');
      expect(await allowed('https://a.example.evil')).toBeNull();
      expect(await allowed('null')).toBeNull();
    }));

  test('a preflight passes for every method, every SDK header and every path, without a key', () =>
    withServer('*', async (server) => {
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
        const response = await fetch(`${server.url}/v1/anything`, {
          method: 'OPTIONS',
          headers: {
            origin: 'https://a.example',
            'access-control-request-method': method,
            'access-control-request-headers': STAINLESS,
          },
        });
        expect(response.status).toBe(204);
        expect(response.headers.get('access-control-allow-methods')).toContain(method);
        expect(response.headers.get('access-control-allow-headers')).toBe(STAINLESS);
        expect(Number(response.headers.get('access-control-max-age'))).toBeGreaterThan(0);
      }
      expect(server.gateway.authorizations).toEqual([]);
    }));

  test('a requested header that is no name is not echoed', () =>
    withServer('*', async (server) => {
      for (const requested of ['a b', 'x;y', `x${',x'.repeat(3000)}`]) {
        const headers = { 'access-control-request-headers': requested };
        const response = await fetch(`${server.url}/v1/models`, { method: 'OPTIONS', headers });
        expect(response.headers.get('access-control-allow-headers')).toBeNull();
      }
    }));
});
