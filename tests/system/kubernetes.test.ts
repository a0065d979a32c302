/** The gateway with the settings of `deploy/kubernetes`, on what they name: PostgreSQL, a Redis Cluster and Ollama. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startSimulator } from '../../simulator/server.ts';
import type { IssuedKey } from '../../src/core/keys.ts';
import { chat, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, runKeys, startGateway } from '../support/gateway.ts';
import { type Container, type PodTemplate, readManifests, readSettings } from '../support/manifests.ts';
import { type Operator, openOperator } from '../support/operator.ts';
import { type PrivatePostgres, startPostgres } from '../support/postgres.ts';
import { type ClusterNode, type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';

const REPLICA_ID = 'llm-gateway-5d4f8c7b9-x2x7q';
const AMPLE = { requestsPerMinute: 60_000 };

const manifests = readManifests();
const settings = readSettings();
let cluster: RedisCluster;
let postgres: PrivatePostgres;
let env: Readonly<Record<string, string>>;
let gateway: GatewayProcess;
let operator: Operator;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  [cluster, postgres] = await Promise.all([startRedisCluster(), startPostgres()]);
  opened.defer(() => cluster.close());
  opened.defer(() => postgres.close());
  const ollama = await startSimulator({ parallel: 100 });
  opened.defer(() => ollama.close());
  env = {
    ...settings,
    DATABASE_URL: postgres.url,
    REDIS_URL: cluster.url,
    OLLAMA_URLS: ollama.url,
    REPLICA_ID,
    HOST: '127.0.0.1',
    PORT: '0',
  };
  gateway = await startGateway(env);
  opened.defer(async () => void (await gateway.stop()));
  operator = await openOperator(postgres.url);
  opened.defer(() => operator.close());
});
afterAll(() => opened.disposeAsync());

function specOf(kind: string): Readonly<Record<string, unknown>> {
  return manifests.find((manifest) => manifest.kind === kind)?.spec ?? {};
}

async function keyOn(node: ClusterNode): Promise<IssuedKey> {
  for (;;) {
    const issued = await operator.createKey({ limits: AMPLE });
    if ((await cluster.ownerOf(issued.key.keyId)) === node) return issued;
  }
}

async function modeOf(secret: string): Promise<'exact' | 'degraded'> {
  const response = await chat(gateway, secret);
  await response.arrayBuffer();
  expect(response.status).toBe(200);
  return response.headers.get('x-ratelimit-mode') === 'degraded' ? 'degraded' : 'exact';
}

function pathsOfProbes(): readonly (string | undefined)[] {
  const pods = specOf('Deployment')['template'] as PodTemplate;
  const { startupProbe, readinessProbe, livenessProbe }: Partial<Container> = pods.spec.containers[0] ?? {};
  return [startupProbe, readinessProbe, livenessProbe].map((probe) => probe?.httpGet.path);
}

test('probes are answered at their paths', async () => {
  for (const path of pathsOfProbes())
    expect([path, (await fetch(gateway.url + path)).status]).toEqual([path, 200]);
  const { replica } = (await (await fetch(`${gateway.url}/health`)).json()) as { replica: string };
  expect(replica).toBe(REPLICA_ID);
});

test('no probe fails with the Ollama servers, which all pods lose at once', async () => {
  const alone = await startGateway({ OLLAMA_URLS: 'http://127.0.0.1:1' });
  opened.defer(async () => void (await alone.stop()));
  expect((await fetch(`${alone.url}/ready`)).status).toBe(503);
  for (const path of pathsOfProbes())
    expect([path, (await fetch(alone.url + path)).status]).toEqual([path, 200]);
});

test('the way in leads to what the gateway serves, and to nothing for operators', async () => {
  interface Path {
    readonly path: string;
    readonly pathType: 'Exact' | 'Prefix';
  }
  const [rule] = specOf('Ingress')['rules'] as readonly { http: { paths: readonly Path[] } }[];
  const isOpen = (asked: string) =>
    rule?.http.paths.some(({ path, pathType }) =>
      pathType === 'Exact' ? asked === path : asked === path || asked.startsWith(`${path}/`),
    );
  const index = (await (await fetch(gateway.url)).json()) as Record<string, string>;
  const served = Object.entries(index).filter(([name, path]) => name !== 'name' && path.startsWith('/'));
  expect(served.filter(([, path]) => !isOpen(path)).map(([name]) => name)).toEqual([
    'documentation',
    'metrics',
  ]);
  for (const path of [
    '/',
    '/v1/models',
    '/graphql',
    '/health',
    '/ready',
    '/openapi.json',
    '/metrics',
    '/docs',
  ]) {
    expect([path, (await fetch(gateway.url + path)).status]).not.toEqual([path, 404]);
  }
});

test('the metric by which replicas are scaled is there before the first request', async () => {
  type Metric = { readonly pods: { readonly metric: { readonly name: string } } };
  const [metric] = specOf('HorizontalPodAutoscaler')['metrics'] as readonly Metric[];
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  expect(metrics).toMatch(new RegExp(`^${metric?.pods.metric.name}\\{.*\\} 0$`, 'm'));
});

test('a node of the Redis Cluster that goes degrades the limits of its keys, and those alone', async () => {
  const [node, other] = cluster.nodes;
  if (!node || !other) throw new Error('a cluster needs nodes');
  const [there, elsewhere] = await Promise.all([keyOn(node), keyOn(other)]);
  for (const { key, secret } of [there, elsewhere]) {
    expect(await modeOf(secret)).toBe('exact');
    // What waits in a Redis that keeps nothing on disk goes with it.
    await operator.untilRows(key.keyId, 1);
  }
  await node.stop();
  try {
    expect(await modeOf(there.secret)).toBe('degraded');
    expect(await modeOf(elsewhere.secret)).toBe('exact');
    const ready = await fetch(`${gateway.url}/ready`);
    expect([ready.status, await ready.json()]).toMatchObject([
      200,
      { dependencies: { redis: { state: 'down' } } },
    ]);
  } finally {
    await node.start();
  }
  await eventually('exact limits', async () => (await modeOf(there.secret)) === 'exact');
  for (const { key } of [there, elsewhere]) await operator.untilRows(key.keyId, 2);
});

test('a key that is revoked from a command line is refused at once', async () => {
  const { key, secret } = await operator.createKey({ limits: AMPLE });
  expect(await modeOf(secret)).toBe('exact');
  await runKeys({ DATABASE_URL: postgres.url, REDIS_URL: cluster.url }, 'revoke', key.keyId);
  await eventually('the refusal', async () => (await statusOf(chat(gateway, secret))) === 401, 5000);
});

test('past the grace a pod ends within the 15 s that are left for it, also with all its stores frozen', async () => {
  const graceMs = 1000;
  const pod = await startGateway({ ...env, SHUTDOWN_GRACE_MS: `${graceMs}` });
  const { secret } = await operator.createKey({ limits: AMPLE });
  const stream = await openStream(pod, secret, { script: { tokens: 100_000, paceMs: 20 } });
  await stream.untilEvents(2);
  await postgres.freeze();
  for (const node of cluster.nodes) node.freeze();
  try {
    const begun = performance.now();
    expect(await pod.stop()).toBe(0);
    expect(performance.now() - begun).toBeLessThan(graceMs + 15_000);
    expect(await stream.ended()).toMatchObject({ done: false, errorCode: 'shutting_down' });
  } finally {
    for (const node of cluster.nodes) node.thaw();
    await postgres.thaw();
  }
});
