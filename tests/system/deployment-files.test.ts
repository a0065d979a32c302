import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { environmentOf, readComposeFile, type Variables } from '../support/compose-file.ts';
import { createImageTree } from '../support/dockerfile.ts';
import { eventually } from '../support/eventually.ts';
import { TEST_KEY } from '../support/gateway.ts';
import { startNginx } from '../support/nginx.ts';
import { createDatabase, startPostgres } from '../support/postgres.ts';
import { findFreePort, findProgram, startServer } from '../support/programs.ts';
import { sharedRedisUrl } from '../support/redis.ts';

/** The commands of `docker-compose.yml`, as they stand there, against the very processes that they are for. */

const { services } = readComposeFile();

function healthCheckOf(service: string): readonly string[] {
  const [kind, ...command] = services[service]?.healthcheck?.test ?? [];
  if (kind !== 'CMD') throw new Error(`the health check of ${service} is not a plain command`);
  return command;
}

interface Outcome {
  readonly code: number;
  readonly output: string;
}

/** Runs a command as an engine does in a container: nothing in its environment but `env`, and this Node as `node`. */
function run([file = '', ...args]: readonly string[], env: Variables, cwd?: string): Promise<Outcome> {
  const path = `${dirname(process.execPath)}:${process.env['PATH']}`;
  return new Promise((resolve) => {
    execFile(
      file,
      args,
      { env: { PATH: path, ...env }, ...(cwd && { cwd }), timeout: 60_000 },
      (error, out, err) => {
        resolve({ code: error ? Number(error.code ?? 1) : 0, output: out + err });
      },
    );
  });
}

const stack = new AsyncDisposableStack();
afterAll(() => stack.disposeAsync());

describe('a tree with nothing but what the image has', () => {
  /** With the environment that Compose gives a replica where there is no `.env`. */
  let env: Variables;
  let tree: string;
  let url: string;
  let stopGateway: () => Promise<number | null>;

  beforeAll(async () => {
    const image = createImageTree();
    stack.defer(() => image.remove());
    tree = image.path;
    const database = await createDatabase();
    stack.defer(() => database.drop());
    const service = services['gateway-1'];
    if (service === undefined) throw new Error('there is no gateway-1');
    env = {
      ...environmentOf(service),
      // Otherwise Node would look for packages where the links lead, and find more than the image has.
      NODE_OPTIONS: '--preserve-symlinks --preserve-symlinks-main',
      DATABASE_URL: database.url,
      REDIS_URL: sharedRedisUrl(),
      PORT: String(await findFreePort()),
    };
    url = `http://127.0.0.1:${env['PORT']}`;
  });

  test('has no package that is for development only', async () => {
    const { code, output } = await run(['node', '-e', 'import("typescript")'], env, tree);
    expect(code).not.toBe(0);
    expect(output).toContain('ERR_MODULE_NOT_FOUND');
  });

  test('is unhealthy before it listens', async () => {
    const { code, output } = await run(healthCheckOf('gateway-1'), env, tree);
    expect(code).toBe(1);
    expect(output).toContain('ECONNREFUSED');
  });

  test('migrates as Compose does it', async () => {
    const outcome = await run(services['migrate']?.command ?? [], env, tree);
    expect(outcome).toEqual({ code: 0, output: expect.stringContaining('the schema is at version') });
  });

  test('starts, is healthy, and answers', async () => {
    const child = spawn(process.execPath, ['src/main.ts'], {
      cwd: tree,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    stopGateway = async () => {
      child.kill('SIGTERM');
      await exited;
      return child.exitCode;
    };
    stack.defer(async () => void (await stopGateway()));
    for await (const line of createInterface({ input: child.stdout }))
      if (line.includes('"listening"')) break;
    child.stdout.resume();

    expect(await run(healthCheckOf('gateway-1'), env, tree)).toEqual({ code: 0, output: '' });
    const health = await fetch(`${url}/health`);
    expect([health.status, await health.json()]).toEqual([
      200,
      expect.objectContaining({ replica: 'gateway-1' }),
    ]);
    const answer = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TEST_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'llama3.1:8b', messages: [{ role: 'user', content: 'Hello!' }] }),
    });
    const { choices } = await answer.json();
    expect([answer.status, choices[0].message.content]).toEqual([200, expect.stringContaining('Hello!')]);
  });

  test.each(['/docs', '/graphql', '/openapi.json', '/metrics'])('has what %s is made of', async (path) => {
    const response = await fetch(url + path, { headers: { accept: 'text/html,*/*' } });
    expect([response.status, (await response.text()).length > 100]).toEqual([200, true]);
  });

  test('has the keys command', async () => {
    const { code, output } = await run(['node', 'src/cli/keys.ts', 'list'], env, tree);
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('Demo: default') });
  });

  test('has the simulator', async () => {
    const { command = [] } =
      readComposeFile({}, 'tests/containers/compose.simulator.yml').services['simulator'] ?? {};
    const { code, output } = await run([...command, '--help'], env, tree);
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('npm run simulator') });
  });

  test('ends in order on SIGTERM, and is unhealthy from then on', async () => {
    expect(await stopGateway()).toBe(0);
    expect((await run(healthCheckOf('gateway-1'), env, tree)).code).toBe(1);
  });
});

describe('PostgreSQL', () => {
  test('is healthy while it takes connections over TCP', async () => {
    await findProgram('pg_isready', { debianPackage: 'postgresql-client' });
    const postgres = await startPostgres();
    stack.defer(() => postgres.close());
    const env = { PGPORT: new URL(postgres.url).port };
    const check = () => run(healthCheckOf('postgres'), env);
    expect(await check()).toEqual({ code: 0, output: '' });
    await postgres.stop();
    expect((await check()).code).not.toBe(0);
    await postgres.start();
    expect((await check()).code).toBe(0);
  });

  test('that starts later than the migration is waited for', async () => {
    const postgres = await startPostgres();
    stack.defer(() => postgres.close());
    await postgres.stop();
    // Stands in for the server until the migration has been there twice.
    const closed = createServer();
    const tries = new Promise<void>((resolve) => {
      let count = 0;
      closed.on('connection', (socket) => {
        socket.destroy();
        if (++count === 2) resolve();
      });
    });
    await once(closed.listen(Number(new URL(postgres.url).port), '127.0.0.1'), 'listening');
    const migrated = run(services['migrate']?.command ?? [], { DATABASE_URL: postgres.url });
    await Promise.race([tries, migrated]);
    await new Promise((resolve) => closed.close(resolve));
    await postgres.start();
    expect(await migrated).toEqual({
      code: 0,
      output: expect.stringMatching(/^Applied .*: the schema is at version/),
    });
  });

  test('that never comes ends the wait', async () => {
    const env = { DATABASE_URL: `postgresql://gateway@127.0.0.1:${await findFreePort()}/gateway` };
    const outcome = await run(['node', 'src/cli/migrate.ts', '--wait', '1'], env);
    expect(outcome).toEqual({ code: 1, output: expect.stringContaining('is not available: ') });
  });
});

describe('Redis', () => {
  /** As the compose file starts it, on a port of its own. */
  async function startRedis() {
    const service = readComposeFile({ REDIS_PASSWORD: 's3cret' }).services['redis'];
    const [shell = '', option = '', script = ''] = service?.command ?? [];
    const program = await findProgram('redis-server', { debianPackage: 'redis-server' });
    await findProgram('redis-cli', { debianPackage: 'redis-tools' });
    const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-redis-'));
    stack.defer(() => rmSync(directory, { recursive: true, force: true }));
    const port = String(await findFreePort());
    const env = service ? environmentOf(service, { REDIS_PASSWORD: 's3cret' }) : {};
    const cli = (...command: readonly string[]) => run(['redis-cli', '-p', port, ...command], env);
    const [, ...check] = healthCheckOf('redis');
    const ofItsOwn = script.replace('redis-server -', `${program} - --port ${port} --bind 127.0.0.1`);
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const start = () => startServer('env', [...variables, shell, option, ofItsOwn], { cwd: directory });
    return {
      port,
      start,
      cli,
      check: () => cli(...check),
      checkAs: (password: string) => run(['redis-cli', '-p', port, ...check], { REDISCLI_AUTH: password }),
    };
  }

  test('is healthy when it answers to its password, and keeps what it has over a restart', async () => {
    const { start, cli, check, checkAs } = await startRedis();
    expect((await check()).code).not.toBe(0);
    const first = await start();
    await eventually('Redis to be healthy', async () => (await check()).code === 0);
    expect(await check()).toEqual({ code: 0, output: 'PONG\n' });
    expect((await checkAs('wrong')).code).not.toBe(0);
    await cli('set', 'limit', '1');
    await first.stop();
    const second = await start();
    stack.defer(() => second.stop());
    await eventually('Redis to be healthy', async () => (await check()).code === 0);
    expect((await cli('get', 'limit')).output).toBe('1\n');
  });
});

describe('nginx', () => {
  test('is healthy also where every gateway is away', async () => {
    await findProgram('curl', { debianPackage: 'curl' });
    const nginx = await startNginx({ upstreams: [`127.0.0.1:${await findFreePort()}`] });
    const command = healthCheckOf('nginx').map((word) => word.replace(':3000/', `:${nginx.port}/`));
    expect(await run(command, {})).toEqual({ code: 0, output: '# ok\n' });
    await nginx.stop();
    expect((await run(command, {})).code).not.toBe(0);
  });
});
