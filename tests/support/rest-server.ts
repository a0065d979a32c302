import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock, LogFields } from '../../src/core/ports.ts';
import { createRestApp } from '../../src/rest/app.ts';
import type { RestOptions } from '../../src/rest/context.ts';
import { createFakeGateway, FAKE_KEY, type FakeGateway } from './fake-gateway.ts';

export interface RestServer {
  readonly url: string;
  readonly port: number;
  readonly gateway: FakeGateway;
  readonly logs: { message: string; fields: LogFields | undefined }[];
  /** A request with the key and, where there is a body, its content type. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  close(): Promise<void>;
}

export const systemClock: Clock = {
  now: Date.now,
  after(ms, act) {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
};

export const REST_CONFIG: RestOptions['config'] = {
  maxBodyBytes: 1_000_000,
  corsOrigins: '*',
  production: false,
  debug: true,
  version: '1.2.3',
  replica: 'replica-1',
};

/** The REST façade alone, over a scripted gateway, on a free port. */
export async function startRestServer(
  over: Partial<Omit<RestOptions, 'gateway' | 'config'>> & { config?: Partial<RestOptions['config']> } = {},
): Promise<RestServer> {
  const gateway = createFakeGateway();
  const logs: RestServer['logs'] = [];
  const app = createRestApp({
    clock: systemClock,
    telemetry: { log: (_level, message, fields) => logs.push({ message, fields }) },
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'up 1\n' }),
    ...over,
    gateway,
    config: { ...REST_CONFIG, ...over.config },
  });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const authorized = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${FAKE_KEY}`);
    if (init.body != null && !headers.has('content-type')) headers.set('content-type', 'application/json');
    return fetch(url + path, { ...init, headers });
  };
  return {
    url,
    port,
    gateway,
    logs,
    fetch: authorized,
    post: (path, body, init) => authorized(path, { ...init, method: 'POST', body: JSON.stringify(body) }),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
