import type { Gateway } from '../../core/gateway.ts';
import type { Clock } from '../../core/ports.ts';
import type { Handler, RestConfig, RestOptions } from '../context.ts';

/** `GET /`: where to go from here. */
export function getIndex({ version, production }: Pick<RestConfig, 'version' | 'production'>): Handler {
  return (_req, res) => {
    res.json({
      name: 'llm-gateway',
      version,
      openai_base_url: '/v1',
      graphql: '/graphql',
      documentation: '/docs',
      openapi: '/openapi.json',
      health: '/health',
      ready: '/ready',
      metrics: '/metrics',
      ...(!production && { browser_test: '/cors-test' }),
    });
  };
}

/** `GET /health`: that this process answers. Asks nobody else. */
export function getHealth(config: RestConfig, clock: Clock): Handler {
  const startedAt = clock.now();
  const { version, replica, upstream } = config;
  return (_req, res) => {
    const uptime_s = Math.floor((clock.now() - startedAt) / 1000);
    res.json({ status: 'ok', uptime_s, version, replica, upstream });
  };
}

/** `GET /ready`: whether requests should be sent here, and why not. */
export function getReady(gateway: Pick<Gateway, 'report'>, { upstream }: RestConfig): Handler {
  return (_req, res) => {
    const { ready, draining, dependencies } = gateway.report();
    const states = dependencies.map(({ name, state, detail }) => [name, { state, detail }] as const);
    res
      .status(ready && !draining ? 200 : 503)
      .json({ ready, draining, dependencies: Object.fromEntries(states), upstream });
  };
}

/** `GET /metrics` */
export function getMetrics(metrics: RestOptions['metrics']): Handler {
  return async (_req, res) => {
    const { contentType, body } = await metrics();
    res.set('Content-Type', contentType).send(body);
  };
}
