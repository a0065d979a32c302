import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, startGateway, TEST_KEY } from '../support/gateway.ts';
import { type Header, type Meddling, startMeddler } from '../support/meddler.ts';
import { startNginx } from '../support/nginx.ts';
import { findFreePort } from '../support/programs.ts';
import { type Stack, startStack } from '../support/stack.ts';

/** Each run is a process of its own, and asks a few hundred questions. */
jest.setTimeout(120_000);

const ROOT = join(import.meta.dirname, '../..');
const CHECKS = [
  'services',
  'health',
  'CORS headers',
  'preflight',
  'models',
  'completion',
  'database',
  'Redis',
  'load balancing',
  'errors',
  'authentication',
];

interface Run {
  readonly code: number;
  readonly output: string;
  readonly report: { readonly ready: boolean; readonly checks: readonly Result[] };
  /** What the checks that failed saw, by their names. */
  readonly failed: Readonly<Record<string, string>>;
  readonly skipped: readonly string[];
  saw(name: string): string | undefined;
}

interface Result {
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  readonly saw: string;
  readonly lookAt?: string;
}

let stack: Stack;
let key: string;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'readiness-'));
  stack = await startStack({ simulators: [{ parallel: 100, paceMs: 5, script: { tokens: 200 } }] });
  key = await issueKey({ concurrentRequests: 10 });
});
afterAll(async () => {
  await stack?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function issueKey(limits: object): Promise<string> {
  return (await stack.createKey({ scopes: ['chat', 'models', 'usage:read'], limits })).secret;
}

/** Runs the program as its users do. */
async function run(
  url: string,
  args: readonly string[] = [],
  {
    command = [process.execPath, 'scripts/readiness.ts'],
    env = {},
  }: {
    readonly command?: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
  } = {},
): Promise<Run> {
  const out = mkdtempSync(join(folder, 'run-'));
  const [program = '', ...first] = command;
  const child = spawn(program, [...first, '--url', url, '--out', out, ...args], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'] ?? '', GATEWAY_KEY: key, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [output, problems, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  const [file] = globSync(join(out, 'test-results-*.json'));
  if (file === undefined) throw new Error(`there is no report: ${output}${problems}`);
  const json = readFileSync(file, 'utf8');
  for (const said of [output, problems, json]) expect(said).not.toContain(env['GATEWAY_KEY'] || key);
  const report: Run['report'] = JSON.parse(json);
  const of = (status: Result['status']) => report.checks.filter((check) => check.status === status);
  return {
    code,
    output,
    report,
    failed: Object.fromEntries(of('failed').map(({ name, saw }) => [name, saw])),
    skipped: of('skipped').map(({ name }) => name),
    saw: (name) => report.checks.find((check) => check.name === name)?.saw,
  };
}

/** Checks the deployment through something that spoils answers. */
async function runThrough(
  target: string,
  meddle: (asked: { readonly method: string; readonly path: string }) => Meddling | undefined,
  ...args: readonly string[]
): Promise<Run> {
  const meddler = await startMeddler(target, meddle);
  try {
    return await run(meddler.url, args);
  } finally {
    await meddler.close();
  }
}

const REQUIRED = ['--replicas', '3'];
const CLOSED: Meddling = { instead: { status: 404, type: 'application/json', body: '{}' } };

describe('a deployment in order', () => {
  test('passes all eleven checks, prints a table and writes a report', async () => {
    const { code, output, report, failed } = await run(stack.url, REQUIRED);
    expect(failed).toEqual({});
    expect(report.checks.map(({ name, status }) => [name, status])).toEqual(
      CHECKS.map((name) => [name, 'passed']),
    );
    expect(report.ready).toBe(true);
    for (const name of CHECKS) expect(output).toMatch(new RegExp(`^passed +${name} `, 'm'));
    expect(output).toContain('11 passed, 0 failed, 0 skipped.');
    expect(code).toBe(0);
  });

  test('passes without being told how many replicas there are, and with /ready closed', async () => {
    const meddle = ({ path }: { path: string }) => (path === '/ready' ? CLOSED : undefined);
    const { failed, skipped, saw } = await runThrough(stack.url, meddle);
    expect({ failed, skipped }).toEqual({ failed: {}, skipped: [] });
    expect(saw('services')).toContain('/ready is closed');
    expect(saw('Redis')).toContain('count one running request');
    expect(saw('database')).toContain('the completion is in the ledger');
    expect(saw('load balancing')).toMatch(/gateway-1 \d+, gateway-2 \d+, gateway-3 \d+$/);
  });

  test('shows that its limits are shared with a limit on tokens, too, but not without any', async () => {
    const meddle = ({ path }: { path: string }) => (path === '/ready' ? CLOSED : undefined);
    const meddler = await startMeddler(stack.url, meddle);
    try {
      const tokens = await run(meddler.url, REQUIRED, {
        env: { GATEWAY_KEY: await issueKey({ tokensPerMinute: 50_000 }) },
      });
      expect(tokens.failed).toEqual({});
      expect(tokens.saw('Redis')).toContain('count one running request');
      const unlimited = await run(meddler.url, REQUIRED, { env: { GATEWAY_KEY: await issueKey({}) } });
      expect(Object.keys(unlimited.failed)).toEqual(['Redis']);
      expect(unlimited.failed['Redis']).toContain('the key has no limit');
    } finally {
      await meddler.close();
    }
  });

  test('is checked over HTTPS, where its certificate is trusted', async () => {
    const upstreams = stack.replicas.map(({ url }) => new URL(url).host);
    const nginx = await startNginx({ upstreams, tls: true });
    try {
      const stranger = await run(nginx.url, REQUIRED);
      expect(stranger.code).toBe(1);
      expect(stranger.failed['services']).toContain('NODE_EXTRA_CA_CERTS');
      expect(Object.keys(stranger.failed)).toEqual(CHECKS);

      const file = join(folder, 'authority.pem');
      writeFileSync(file, nginx.tls?.certificate ?? '');
      const trusting = await run(nginx.url, REQUIRED, { env: { NODE_EXTRA_CA_CERTS: file } });
      expect(trusting.failed).toEqual({});
      expect(trusting.code).toBe(0);
    } finally {
      await nginx.stop();
    }
  });
});

describe('something wrong in front of the gateway', () => {
  test('is named: doubled headers, refused preflights, held back streams, foreign error pages', async () => {
    const twice = (headers: readonly Header[]) =>
      headers.flatMap((header) =>
        /^access-control-allow-origin$/i.test(header[0]) ? [header, header] : [header],
      );
    const withoutLeave = (headers: readonly Header[]) =>
      headers.filter(([name]) => !/^access-control-allow-headers$/i.test(name));
    const page = { status: 404, type: 'text/html', body: '<html><h1>404 Not Found</h1><hr>nginx</html>' };
    // Slow enough for a stream to be seen to be held back.
    const slow = { tokens: 40, paceMs: 40 };
    stack.simulators[0]?.script(slow, slow);
    const { code, failed } = await runThrough(stack.url, ({ method, path }) => {
      if (method === 'OPTIONS') return { headers: withoutLeave };
      if (path.startsWith('/v1/canary')) return { instead: page };
      if (path === '/v1/chat/completions') return { holdBack: true };
      return path === '/v1/models' ? { headers: twice } : undefined;
    });
    expect(Object.keys(failed)).toEqual(['CORS headers', 'preflight', 'completion', 'errors']);
    expect(failed['CORS headers']).toContain('GET /v1/models has 2 Access-Control-Allow-Origin');
    expect(failed['preflight']).toContain('does not allow authorization');
    expect(failed['completion']).toMatch(/pieces came at once/);
    expect(failed['errors']).toContain('an unknown path: 404 with a body that is not JSON');
    expect(failed['errors']).toContain('an unknown path has 0 x-request-id');
    expect(code).toBe(1);
  });

  test('that answers nothing more ends every check that waits for it', async () => {
    const swallow = ({ path }: { path: string }): Meddling | undefined =>
      path === '/graphql' ? { swallow: true } : undefined;
    const { code, failed } = await runThrough(stack.url, swallow, '--timeout', '1');
    expect(failed['services']).toBe('GraphQL: no answer in time; server-sent events: no answer in time');
    expect(Object.keys(failed)).toEqual([
      'services',
      'CORS headers',
      'preflight',
      'database',
      'Redis',
      'errors',
      'authentication',
    ]);
    expect(code).toBe(1);
  });

  test('that nobody is behind ends the whole run at once', async () => {
    const { code, failed } = await run(`http://127.0.0.1:${await findFreePort()}`);
    expect(Object.keys(failed)).toEqual(CHECKS);
    expect(failed['services']).toContain('nothing listens there');
    expect(failed['models']).toBe('not tried, as nothing answers');
    expect(code).toBe(1);
  });
});

describe('a key that is not accepted', () => {
  test('fails authentication and what needs a key, and nothing else', async () => {
    const env = { GATEWAY_KEY: 'llmgw_thiskeyisnobodys00000000000000000' };
    const { code, failed } = await run(stack.url, REQUIRED, { env });
    expect(Object.keys(failed)).toEqual(['models', 'completion', 'Redis', 'errors', 'authentication']);
    expect(failed['authentication']).toContain('the key given by REST: 401');
    expect(failed['authentication']).toContain('the key given by WebSocket: closed with 4403');
    expect(code).toBe(1);
  });
});

describe('replicas without Redis', () => {
  let replicas: readonly GatewayProcess[] = [];
  afterAll(async () => {
    await Promise.all(replicas.map((replica) => replica.stop()));
  });

  test('are caught counting apart, also where they do not say so', async () => {
    const start = (id: string) =>
      startGateway({
        DATABASE_URL: stack.postgres.url,
        OLLAMA_URLS: stack.simulators[0]?.url ?? '',
        REPLICA_ID: id,
      });
    replicas = await Promise.all([start('a'), start('b')]);
    const short = { tokens: 40 };
    const long = { tokens: 2000, paceMs: 20 };
    stack.simulators[0]?.script(short, short, long, long, long);
    const nginx = await startNginx({ upstreams: replicas.map(({ url }) => new URL(url).host) });
    try {
      const meddle = ({ path }: { path: string }) => (path === '/ready' ? CLOSED : undefined);
      const { failed } = await runThrough(nginx.url, meddle);
      expect(Object.keys(failed)).toEqual(['Redis']);
      expect(failed['Redis']).toMatch(/^\d of 8 looks do not count a running request/);
    } finally {
      await nginx.stop();
    }
  });
});

describe('a single gateway that was never configured', () => {
  test('has what takes more skipped, by test-production-readiness.sh and with the published key', async () => {
    const gateway = await startGateway({ OLLAMA_URLS: stack.simulators[0]?.url ?? '' });
    try {
      const command = ['./test-production-readiness.sh'];
      const { code, failed, skipped, output, saw } = await run(gateway.url, [], {
        command,
        env: { GATEWAY_KEY: '' },
      });
      expect(failed).toEqual({});
      expect(skipped).toEqual(['database', 'Redis', 'load balancing']);
      expect(output).toContain('the published test key is used');
      expect(output).not.toContain(TEST_KEY);
      expect(saw('authentication')).toContain('The key given is a published one');
      expect(code).toBe(0);

      const required = await run(gateway.url, ['--replicas', '3'], { env: { GATEWAY_KEY: TEST_KEY } });
      expect(Object.keys(required.failed)).toEqual(['database', 'Redis', 'load balancing']);
    } finally {
      await gateway.stop();
    }
  });
});

describe('an outage', () => {
  /** For every replica, so that the next outage is the only one. */
  async function untilAllIsUp(): Promise<void> {
    for (const { url } of stack.replicas) {
      await eventually(`${url} has everything that it depends on`, async () => {
        const { dependencies } = (await (await fetch(`${url}/ready`)).json()) as {
          dependencies: Readonly<Record<string, { readonly state: string }>>;
        };
        return Object.values(dependencies).every(({ state }) => state === 'up');
      });
    }
  }

  test('of Redis fails the check of Redis', async () => {
    await stack.redis.stop();
    const { code, failed } = await run(stack.url, REQUIRED);
    await stack.redis.start();
    await untilAllIsUp();
    expect(Object.keys(failed)).toEqual(['services', 'Redis']);
    expect(failed['services']).toBe('/ready says that redis is down');
    expect(code).toBe(1);
  });

  test('of PostgreSQL fails the check of the database, although the key in use is cached', async () => {
    await stack.postgres.stop();
    const { code, failed } = await run(stack.url, REQUIRED);
    await stack.postgres.start();
    await untilAllIsUp();
    expect(Object.keys(failed)).toEqual(['services', 'database', 'authentication']);
    expect(failed['database']).toContain('9 × 503');
    expect(failed['database']).toContain('the ledger cannot be read');
    expect(code).toBe(1);
  });

  test('of a replica fails load balancing, where it is known how many there have to be', async () => {
    await stack.replicas[1]?.kill();
    const { code, failed } = await run(stack.url, REQUIRED);
    expect(failed).toEqual({
      'load balancing': expect.stringMatching(
        /^2 of 3 replicas answer: 60 requests: gateway-1 \d+, gateway-3 \d+$/,
      ),
    });
    expect(code).toBe(1);
  });
});
