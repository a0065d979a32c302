/** What is done to the containers, step by step, and what has to hold meanwhile. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { CommandError } from '../../src/cli/program.ts';
import { type Answer, type Client, createClient, startTraffic, until } from './client.ts';
import type { Engine } from './engine.ts';

export const SERVICES = [
  'postgres',
  'redis',
  'simulator',
  'migrate',
  'gateway-1',
  'gateway-2',
  'gateway-3',
  'nginx',
] as const;
const REPLICAS = ['gateway-1', 'gateway-2', 'gateway-3'] as const;

export interface ScenarioOptions {
  readonly engine: Engine;
  /** Of nginx, from this machine. */
  readonly url: string;
  readonly image: string;
  readonly buildOptions: readonly string[];
}

/** How many ask while a replica is killed. Each may lose the one request that it has under way. */
const CALLERS = 4;
/** On a busy machine it takes a killed process a moment to be gone, in which it still takes requests. */
const DYING_MS = 1000;

/** Reports something that holds. */
type Report = (what: string) => void;

/** The steps by their titles, in order. Each throws where something does not hold. */
export function createScenario({
  engine,
  url,
  image,
  buildOptions,
}: ScenarioOptions): Readonly<Record<string, (passed: Report) => Promise<void>>> {
  let client: Client = createClient(url, '');
  let key: IssuedKey | undefined;
  /** Answers that callers have received as a whole. */
  let completed = 0;

  async function expectAnswers(
    count: number,
    fits: (answer: Answer) => boolean,
    what: string,
  ): Promise<void> {
    for (let at = 0; at < count; at++) {
      const answer = await client.chat();
      if (!fits(answer)) throw new CommandError(`${what} does not hold: ${describe(answer)}`);
      completed++;
    }
  }

  return {
    async 'Build the image'(passed) {
      await engine.build(image, buildOptions);
      passed(await describeImage(engine, image));
    },

    async 'Bring it up'(passed) {
      // What an interrupted run has left has other passwords.
      if ((await engine.list()).length > 0) await engine.down();
      await engine.up(SERVICES);
      await until('/ready to say so', async () => (await client.get('/ready')).status === 200);
      passed(`${url}/ready answers 200`);
      await until('the migration to end', async () => (await stateOf(engine, 'migrate')) === 'exited 0');
      passed(`migrate has ended: ${(await engine.logs('migrate', 1)).trim()}`);
      // Right after the start names may lead nowhere for a moment, each in each container.
      key = await until('a key to be made', () => createKey(engine).catch(() => undefined));
      client = createClient(url, key.secret);
      passed('npm run keys has made a key inside a replica');
      await untilServing(client, REPLICAS);
      for (const name of ['database', 'redis']) await untilDependency(client, name, 'up');
      passed('every replica has its database and Redis');
    },

    async 'Health checks of the compose file'(passed) {
      for (const [service, command] of readHealthChecks()) {
        await until(`${service} to be healthy`, () =>
          engine.exec(service, ...command).then(
            () => true,
            () => false,
          ),
        );
        passed(`${service}: ${command.join(' ')}`);
      }
    },

    async 'Readiness check'(passed) {
      await runReadiness(url, key?.secret ?? '');
      passed('npm run readiness');
    },

    async 'Kill a replica'(passed) {
      const before = await engine.inspect('gateway-2', '{{.RestartCount}}');
      const traffic = startTraffic(CALLERS, () => client.chat());
      let killedBy = 0;
      try {
        await engine.exec('gateway-2', 'node', '-e', KILL).catch(() => undefined);
        killedBy = performance.now();
        await until('gateway-2 to be restarted', async () => {
          return (await engine.inspect('gateway-2', '{{.RestartCount}}')) !== before;
        });
        await untilServing(client, ['gateway-2']);
      } finally {
        await traffic.stop();
      }
      const { answers } = traffic;
      const failures = answers.filter(({ status }) => status !== 200);
      const later = failures.find(({ startedAt }) => startedAt > killedBy + DYING_MS);
      if (later) throw new CommandError(`a request long after the kill failed: ${describe(later)}`);
      if (failures.length > CALLERS) throw new CommandError(`${failures.length} requests failed`);
      completed += answers.length - failures.length;
      passed(
        `${answers.length} requests meanwhile, of which ${failures.length} were cut, ${slowest(answers)}`,
      );
      passed('gateway-2 came back by itself, and serves');
    },

    async 'Stop a replica in the middle of streams'(passed) {
      const streams = [0, 1, 2].map(() => client.stream(5000));
      await engine.stop('gateway-3');
      const ended = await Promise.all(streams);
      const cut = ended.find(
        ({ status, text }) => status !== 200 || !text.trimEnd().endsWith('data: [DONE]'),
      );
      if (cut) throw new CommandError(`a stream was cut: ${describe(cut)}`);
      completed += ended.length;
      passed('three streams, one on each replica, ended with [DONE]');
      const state = await stateOf(engine, 'gateway-3');
      if (state !== 'exited 0') throw new CommandError(`gateway-3 has ${state}`);
      passed('gateway-3 has ended by itself, with exit code 0');
      const begun = performance.now();
      await expectAnswers(12, isOk, 'the two others serve');
      passed(`the two others serve: 12 requests in ${Math.round(performance.now() - begun)} ms`);
      await engine.start('gateway-3');
      // A container that was stopped may come back under another address.
      await until('nginx to know gateway-3 again', async () => {
        await engine.exec('nginx', 'nginx', '-s', 'reload').catch(() => undefined);
        return (await namesServing(client)).has('gateway-3');
      });
      await untilServing(client, REPLICAS);
      passed('after a reload of nginx all three serve');
    },

    async 'Stop PostgreSQL'(passed) {
      await expectAnswers(12, isOk, 'every replica knows the key');
      await engine.stop('postgres');
      await untilDependency(client, 'database', 'down');
      await expectAnswers(12, isOk, 'a known key goes on');
      passed('a known key goes on');
      const answer = await client.chat(UNKNOWN_KEY);
      if (answer.status !== 503 || !answer.headers.has('retry-after')) {
        throw new CommandError(`an unknown key gets ${describe(answer)}`);
      }
      passed(`an unknown key gets 503 with retry-after: ${answer.headers.get('retry-after')}`);
      await engine.start('postgres');
      await until(
        'an unknown key to be refused as one',
        async () => (await client.chat(UNKNOWN_KEY)).status === 401,
      );
      passed('with PostgreSQL back it gets 401');
    },

    async 'Stop Redis'(passed) {
      await engine.exec('redis', 'redis-cli', '-e', 'set', 'containers', 'here');
      await engine.stop('redis');
      await until('degraded limits', async () => isDegraded(await client.chat().then(count)));
      await expectAnswers(12, (answer) => isOk(answer) && isDegraded(answer), 'x-ratelimit-mode: degraded');
      passed('requests go on, with x-ratelimit-mode: degraded');
      await engine.start('redis');
      await untilDependency(client, 'redis', 'up');
      await until('exact limits', async () => !isDegraded(await client.chat().then(count)));
      await expectAnswers(12, (answer) => isOk(answer) && !isDegraded(answer), 'exact limits');
      passed('with Redis back limits are exact again');
      const kept = await engine.exec('redis', 'redis-cli', '-e', 'get', 'containers');
      if (kept.trim() !== 'here') throw new CommandError('Redis has forgotten what it held.');
      passed('Redis still has what it held');
    },

    async 'The ledger'(passed) {
      const rows = await until(`${completed} rows`, async () => {
        const found = await countRows(engine, key?.id ?? '');
        return found >= completed && found;
      });
      passed(`${rows} rows, for ${completed} answers that their callers received`);
    },
  };

  function count(answer: Answer): Answer {
    if (isOk(answer)) completed++;
    return answer;
  }
}

interface IssuedKey {
  readonly id: string;
  readonly secret: string;
}

const UNKNOWN_KEY = `llmgw_${'0'.repeat(64)}`;

/** Ends the gateway in its container as a crash would; process 1 is the init. */
const KILL = `
  for (const pid of require('node:fs').readdirSync('/proc').filter((name) => Number(name) > 1)) {
    const command = require('node:fs').readFileSync('/proc/' + pid + '/cmdline', 'utf8');
    if (/^node\\0.*src\\/main\\.ts\\0$/.test(command)) process.kill(Number(pid), 'SIGKILL');
  }`;

async function describeImage(engine: Engine, image: string): Promise<string> {
  const [size, user] = await Promise.all([
    engine.inspectImage(image, '{{.Size}}'),
    engine.inspectImage(image, '{{.Config.User}}'),
  ]);
  if (!/^[1-9]/.test(user)) throw new CommandError(`The image runs as ${user || 'root'}.`);
  return `${image}: ${Math.round(Number(size) / 1e6)} MB, runs as user ${user}`;
}

/** Has everything that the readiness check asks for. */
async function createKey(engine: Engine): Promise<IssuedKey> {
  const options = ['--name', 'containers', '--scopes', 'chat,embeddings,models,usage:read'];
  const limits = ['--requests-per-minute', '1000000', '--concurrent-requests', '50'];
  const json = await engine.exec(
    'gateway-1',
    'node',
    'src/cli/keys.ts',
    'create',
    ...options,
    ...limits,
    '--json',
  );
  return JSON.parse(json);
}

function readHealthChecks(): readonly (readonly [string, readonly string[]])[] {
  const file = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true });
  return SERVICES.flatMap((service) => {
    const [kind, ...command]: readonly string[] = file.services[service]?.healthcheck?.test ?? [];
    return kind === 'CMD' ? [[service, command] as const] : [];
  });
}

async function runReadiness(url: string, key: string): Promise<void> {
  const args = ['scripts/readiness.ts', '--url', url, '--replicas', `${REPLICAS.length}`, '--out', tmpdir()];
  const env = { ...process.env, GATEWAY_KEY: key };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env }).catch((error: Error) => {
    const { stdout: said = error.message } = error as Error & { stdout?: string };
    throw new CommandError(`npm run readiness failed:\n${said}`);
  });
  console.log(stdout.replace(/^/gm, '   '));
}

async function stateOf(engine: Engine, service: string): Promise<string> {
  return engine.inspect(service, '{{.State.Status}} {{.State.ExitCode}}');
}

/** Which replicas nginx sends a few requests to. */
async function namesServing(client: Client): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (let at = 0; at < 3 * REPLICAS.length; at++) {
    const { status, text } = await client.get('/health');
    if (status === 200) names.add(JSON.parse(text).replica);
  }
  return names;
}

async function untilServing(client: Client, replicas: readonly string[]): Promise<void> {
  await until(`${replicas.join(', ')} to serve`, async () => {
    const names = await namesServing(client);
    return replicas.every((replica) => names.has(replica));
  });
}

/** Until every replica that answers says so. */
async function untilDependency(client: Client, name: string, state: string): Promise<void> {
  await until(`/ready to say that ${name} is ${state}`, async () => {
    for (let at = 0; at < 2 * REPLICAS.length; at++) {
      const { text } = await client.get('/ready');
      if (!text.startsWith('{') || JSON.parse(text).dependencies?.[name]?.state !== state) return false;
    }
    return true;
  });
}

async function countRows(engine: Engine, keyId: string): Promise<number> {
  const sql = `select count(*) from usage_records where status = 'ok' and key_id = '${keyId}'`;
  const psql = 'PGPASSWORD=$POSTGRES_PASSWORD psql -U gateway -d gateway -Atc "$0"';
  return Number(await engine.exec('postgres', 'sh', '-c', psql, sql));
}

function isOk({ status }: Answer): boolean {
  return status === 200;
}

function isDegraded({ headers }: Answer): boolean {
  return headers.get('x-ratelimit-mode') === 'degraded';
}

function slowest(answers: readonly Answer[]): string {
  const longest = Math.max(...answers.map(({ startedAt, endedAt }) => endedAt - startedAt));
  return `the slowest took ${Math.round(longest)} ms`;
}

function describe({ status, headers, text }: Answer): string {
  return `${status} ${headers.get('x-ratelimit-mode') ?? ''} ${text.slice(0, 300)}`;
}
