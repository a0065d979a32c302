import { type ApiKey, SCOPES } from '../domain/principal.ts';

/** A key that anyone can read here, to try the gateway with. */
export interface DemoKey extends Pick<ApiKey, 'name' | 'scopes' | 'models' | 'limits' | 'expiresAt'> {
  readonly secret: string;
}

const CALLER_SCOPES = ['chat', 'embeddings', 'models', 'usage:read'] as const;

/** One of each kind. Their secrets are public, so they belong on no gateway that others can reach. */
export const DEMO_KEYS = [
  {
    secret: 'llmgw_test123456789abcdef0123456789abcdef0123456789abcdef0123456789',
    name: 'Demo: default',
    scopes: CALLER_SCOPES,
    models: [],
    limits: { requestsPerMinute: 600, tokensPerMinute: 1_000_000, concurrentRequests: 50 },
  },
  {
    secret: 'llmgw_admin123456789abcdef0123456789abcdef0123456789abcdef0123456789',
    name: 'Demo: admin',
    scopes: SCOPES,
    models: [],
    limits: {},
  },
  {
    secret: 'llmgw_limited123456789abcdef0123456789abcdef0123456789abcdef0123456789',
    name: 'Demo: tightly limited',
    scopes: CALLER_SCOPES,
    models: [],
    limits: { requestsPerMinute: 5, tokensPerMinute: 2000, concurrentRequests: 1 },
  },
  {
    secret: 'llmgw_onemodel123456789abcdef0123456789abcdef0123456789abcdef0123456789',
    name: 'Demo: one model',
    scopes: CALLER_SCOPES,
    models: ['llama3.1:8b'],
    limits: { requestsPerMinute: 600, tokensPerMinute: 1_000_000, concurrentRequests: 50 },
  },
  {
    secret: 'llmgw_expired123456789abcdef0123456789abcdef0123456789abcdef0123456789',
    name: 'Demo: expired',
    scopes: CALLER_SCOPES,
    models: [],
    limits: {},
    expiresAt: new Date('2024-01-01T00:00:00Z'),
  },
] as const satisfies readonly DemoKey[];
