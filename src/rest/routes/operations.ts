import type { Gateway } from '../../core/gateway.ts';
import type { Clock } from '../../core/ports.ts';
import type { Handler, RestConfig, RestOptions } from '../context.ts';
import { contentLines, send, sendJson } from '../send.ts';

/** `GET /`: where to go from here. */
export function getIndex({ version, production }: Pick<RestConfig, 'version' | 'production'>): Handler {
  return (_req, res) => {
    sendJson(res, {
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
    sendJson(res, { status: 'ok', uptime_s, version, replica, upstream });
  };
}

/** `GET /ready`: whether requests should be sent here, and why not. */
export function getReady(gateway: Pick<Gateway, 'report'>, { upstream }: RestConfig): Handler {
  return (_req, res) => {
    const { ready, draining, dependencies } = gateway.report();
    const states = dependencies.map(({ name, state, detail }) => [name, { state, detail }] as const);
    const body = { ready, draining, dependencies: Object.fromEntries(states), upstream };
    sendJson(res, body, ready && !draining ? 200 : 503);
  };
}

/** `GET /metrics` */
export function getMetrics(metrics: RestOptions['metrics']): Handler {
  return async (_req, res) => {
    const { contentType, body } = await metrics();
    send(res, 200, contentLines(contentType), body);
  };
}
