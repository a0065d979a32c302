import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { freeUrl, startMeasured } from '../machine.ts';
import { startStores } from '../stores.ts';
import { type Contender, profiling, type Running, type Site } from './contender.ts';

const ROOT = join(import.meta.dirname, '../..');

/** This gateway as it runs in production, with everything on: keys, limits, the ledger, logs and metrics. */
export const gateway: Contender = {
  name: 'gateway',
  about:
    'this gateway: key, three limits in Redis, ledger in PostgreSQL, log and metrics; parses and encodes',
  own: true,
  start: (site) => startOnStores(site, ROOT),
};

/** Another checkout of it, to measure a change against what it changes. */
export function createBaseline(directory: string): Contender {
  return {
    name: 'baseline',
    about: `the gateway in ${directory}, in every other way like this one`,
    own: true,
    start: (site) => startOnStores(site, resolve(directory)),
  };
}

/** This gateway with nothing configured: an embedded database, limits in the process. */
export function startEmbedded(site: Site): Promise<Running> {
  return startGateway(site, ROOT, {});
}

/** On a PostgreSQL and a Redis of its own, as replicas that share them also share the work of recording. */
async function startOnStores(site: Site, root: string): Promise<Running> {
  await using opened = new AsyncDisposableStack();
  const stores = await startStores();
  opened.defer(() => stores.close());
  const running = await startGateway(site, root, {
    DATABASE_URL: stores.databaseUrl,
    REDIS_URL: stores.redisUrl,
  });
  opened.defer(() => running.stop());
  const resources = opened.move();
  return {
    ...running,
    headers: { authorization: `Bearer ${stores.key}` },
    settled: () => stores.untilRecorded(),
    stop: () => resources.disposeAsync(),
  };
}

/** Those of Node with which `npm start` runs it. */
function startFlags(root: string): readonly string[] {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return String(scripts.start)
    .split(' ')
    .filter((word) => word.startsWith('--'));
}

async function startGateway(
  site: Site,
  root: string,
  env: Readonly<Record<string, string>>,
): Promise<Running> {
  const { port, url } = await freeUrl();
  const dataDirectory = mkdtempSync(join(tmpdir(), 'llm-gateway-bench-'));
  const server = await startMeasured({
    command: [process.execPath, ...profiling(site), ...startFlags(root), 'src/main.ts'],
    cwd: root,
    url,
    ready: '/health',
    env: {
      NODE_ENV: 'production',
      PORT: String(port),
      OLLAMA_URLS: site.upstreamUrl,
      DATA_DIR: dataDirectory,
      SHUTDOWN_GRACE_MS: '5000',
      ...env,
    },
  });
  return {
    url,
    pid: server.pid,
    startMs: server.startMs,
    headers: {},
    settled: async () => undefined,
    async stop() {
      await server.stop();
      rmSync(dataDirectory, { recursive: true, force: true });
    },
  };
}
