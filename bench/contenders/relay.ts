import { join } from 'node:path';
import { freeUrl, startMeasured } from '../machine.ts';
import { type Contender, profiling } from './contender.ts';

/** The least that a gateway in Node can do: what Node itself costs. */
export const relay: Contender = {
  name: 'relay',
  about:
    'node:http and undici alone: parses and encodes as the gateway does; no key, limit, ledger, log or check',
  own: false,
  async start(site) {
    const { port, url } = await freeUrl();
    const script = join(import.meta.dirname, 'relay-server.ts');
    const server = await startMeasured({
      command: [process.execPath, ...profiling(site), script, String(port), site.upstreamUrl],
      env: { NODE_ENV: 'production' },
      url,
      ready: '/health',
    });
    return {
      url,
      pid: server.pid,
      startMs: server.startMs,
      headers: {},
      settled: async () => undefined,
      stop: () => server.stop(),
    };
  },
};
