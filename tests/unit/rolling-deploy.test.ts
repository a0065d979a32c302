import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Deployment, restartAll } from '../../scripts/rolling-deploy/deployment.ts';
import { createFleet } from '../../scripts/rolling-deploy/fleet.ts';
import { lockFile } from '../../scripts/rolling-deploy/lock.ts';
import { parseOptions } from '../../scripts/rolling-deploy/options.ts';
import { openUpstreams, type Replica } from '../../scripts/rolling-deploy/upstreams.ts';
import { CommandError, UsageError } from '../../src/cli/program.ts';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'llm-gateway-rolling-'));
  file = join(directory, 'gateway.conf');
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('the command line', () => {
  test('alone it means the services of docker-compose.yml', () => {
    expect(parseOptions([])).toEqual({
      upstreams: 'nginx/upstreams/gateway.conf',
      restart: 'docker compose up --detach --no-deps --force-recreate {host}',
      reload: `docker compose exec -T nginx sh -c 'nginx -t -q && nginx -s reload'`,
      probe: 'docker compose exec -T nginx curl --fail --silent --max-time 5 http://{server}{path}',
      drainMs: 300_000,
      readyMs: 120_000,
    });
    expect(parseOptions(['--compose', 'podman-compose'])?.restart).toMatch(/^podman-compose up /);
  });

  test('takes commands for replicas that something else runs, and asks those directly', () => {
    const commands = ['--restart', 'systemctl restart llm-gateway@{n}', '--reload', 'nginx -s reload'];
    const options = parseOptions([...commands, '--upstreams', '/etc/x.conf', '--drain', '0', '--ready', '9']);
    expect(options).toEqual({
      upstreams: '/etc/x.conf',
      restart: 'systemctl restart llm-gateway@{n}',
      reload: 'nginx -s reload',
      probe: undefined,
      drainMs: 0,
      readyMs: 9000,
    });
  });

  test.each([
    [['--restart', 'x'], 'Give both --restart and --reload.'],
    [['--restart', 'x', '--reload', 'x', '--compose', 'x'], '--compose stands in place of'],
    [['--drain', '1.5'], '--drain is a whole number of seconds'],
    [['--unknown'], '--unknown'],
    [['gateway-1'], 'gateway-1'],
  ])('%j is refused with a sentence', (args, sentence) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(sentence);
  });

  test('--help asks for nothing', () => {
    expect([parseOptions(['--help']), parseOptions(['-h', '--ready', '1'])]).toEqual([undefined, undefined]);
  });
});

describe('the list of replicas', () => {
  const LIST = `# server gateway-9:3000;
server gateway-1:3000 max_fails=0;
  server\t[::1]:3000 weight=2 down max_fails=0 ;
server 10.0.0.3;  # server gateway-8:3000;
`;

  test('knows each server, and which of them are out', () => {
    writeFileSync(file, LIST);
    expect(openUpstreams(file).list()).toEqual([
      { number: 1, server: 'gateway-1:3000', host: 'gateway-1', isOut: false },
      { number: 2, server: '[::1]:3000', host: '[::1]', isOut: true },
      { number: 3, server: '10.0.0.3', host: '10.0.0.3', isOut: false },
    ]);
  });

  test('changes nothing but the one word', () => {
    writeFileSync(file, LIST);
    const upstreams = openUpstreams(file);
    const [first, second, third] = upstreams.list();
    if (!first || !second || !third) throw new Error('there are three');
    upstreams.setOut(third, true);
    upstreams.setOut(first, true);
    upstreams.setOut(first, true);
    upstreams.setOut(second, false);
    expect(readFileSync(file, 'utf8')).toBe(
      LIST.replace('gateway-1:3000 max_fails=0', 'gateway-1:3000 max_fails=0 down')
        .replace('weight=2 down', 'weight=2')
        .replace('10.0.0.3;', '10.0.0.3 down;'),
    );
  });

  test('says so where there is none', () => {
    expect(() => openUpstreams(file).list()).toThrow(
      /^nginx's list of replicas cannot be read: ENOENT.*gateway\.conf/,
    );
    writeFileSync(file, '# server gateway-1:3000;\n');
    expect(() => openUpstreams(file).list()).toThrow(/^There is no `server` line in .*gateway\.conf\.$/);
  });
});

describe('the lock', () => {
  test('is for one process at a time, and that of one which is gone does not count', () => {
    using _mine = lockFile(file);
    expect(() => lockFile(file)).toThrow(`Process ${process.pid} is at it already.`);
    const other = join(directory, 'other.conf');
    writeFileSync(`${other}.lock`, '2147483646\n');
    lockFile(other)[Symbol.dispose]();
    expect(existsSync(`${other}.lock`)).toBe(false);
  });
});

describe('commands', () => {
  const replica: Replica = { number: 2, server: 'gateway-2:3000', host: 'gateway-2', isOut: false };

  test('have the replica in the place of its names', async () => {
    const record = join(directory, 'record');
    const restart = `echo {n} {server} {host} {other} > ${record}`;
    const fleet = createFleet({ restart, reload: 'true', probe: 'echo {server}{path}' });
    await fleet.restart(replica);
    expect(readFileSync(record, 'utf8')).toBe('2 gateway-2:3000 gateway-2 {other}\n');
    expect(await fleet.probe(replica, '/ready')).toBe('gateway-2:3000/ready\n');
  });

  test('that fail say what they had to say', async () => {
    const fleet = createFleet({ restart: 'exit 3', reload: 'echo because >&2; false', probe: 'false' });
    await expect(fleet.restart(replica)).rejects.toThrow(new CommandError('`exit 3` failed'));
    await expect(fleet.reload()).rejects.toThrow('`echo because >&2; false` failed: because');
    expect(await fleet.probe(replica, '/ready')).toBeUndefined();
  });
});

describe('a deployment', () => {
  /** Replicas that are as the test says, of which a restart makes new ones. */
  function deploy(answers: Readonly<Record<string, boolean>>, over: Partial<Deployment['fleet']> = {}) {
    const steps: string[] = [];
    const running = new Map(Object.entries(answers));
    const upstreams = openUpstreams(file);
    const done = restartAll({
      upstreams,
      drainMs: 10_000,
      readyMs: 0,
      say: () => undefined,
      fleet: {
        async reload() {
          const out = upstreams.list().filter(({ isOut }) => isOut);
          steps.push(`reload without ${out.map(({ host }) => host).join() || 'nobody'}`);
        },
        async restart({ host }) {
          steps.push(`restart ${host}`);
          running.set(host, true);
        },
        probe: async ({ host }, path) =>
          !running.get(host) ? undefined : path === '/health' ? '{"uptime_s":0}' : '',
        ...over,
      },
    });
    return { steps, done };
  }

  test('begins with what is out, then with what is dead', async () => {
    writeFileSync(file, 'server a:1;\nserver b:1;\nserver c:1 down;\n');
    const { steps, done } = deploy({ a: true, b: false, c: false });
    expect(await done).toBe(3);
    expect(steps).toEqual([
      ...['reload without c', 'restart c', 'reload without nobody'],
      ...['reload without b', 'restart b', 'reload without nobody'],
      ...['reload without a', 'restart a', 'reload without nobody'],
    ]);
  });

  test('restarts what is dead also where its name is gone, which nginx refuses', async () => {
    writeFileSync(file, 'server a:1;\nserver b:1;\n');
    const refusals = [new CommandError('host not found')];
    const reload = async () => {
      const refusal = refusals.pop();
      if (refusal) throw refusal;
    };
    const { steps, done } = deploy({ a: true, b: false }, { reload });
    expect(await done).toBe(2);
    expect(steps).toEqual(['restart b', 'restart a']);
    expect(readFileSync(file, 'utf8')).toBe('server a:1;\nserver b:1;\n');
  });

  test.each([
    ['a, b, c', ['a', 'b', 'c']],
    ['b, c', ['b', 'c', 'a']],
  ])('restarts %s, which run and are not ready, before those that serve', async (unready, order) => {
    writeFileSync(file, 'server a:1;\nserver b:1;\nserver c:1;\n');
    const ready = new Map(['a', 'b', 'c'].map((host) => [host, !unready.includes(host)]));
    const restarted: string[] = [];
    const { done } = deploy(
      {},
      {
        async restart({ host }) {
          restarted.push(host);
          ready.set(host, true);
        },
        async probe({ host }, path) {
          if (path === '/ready' && !ready.get(host)) return undefined;
          return path === '/health' ? '{"uptime_s":0}' : '';
        },
      },
    );
    expect(await done).toBe(3);
    expect(restarted).toEqual(order);
  });

  test('does not take out the only replica that serves', async () => {
    writeFileSync(file, 'server a:1;\n');
    const { steps, done } = deploy({ a: true });
    await expect(done).rejects.toThrow(
      'a:1 is the only replica that serves: to restart it would be an outage.',
    );
    expect(steps).toEqual([]);
    expect(readFileSync(file, 'utf8')).toBe('server a:1;\n');
  });

  test('goes no further where nginx refuses its files, which are then as they were', async () => {
    writeFileSync(file, 'server a:1;\nserver b:1;\n');
    const reload = () => Promise.reject(new CommandError('because'));
    const { steps, done } = deploy({ a: true, b: true }, { reload });
    await expect(done).rejects.toThrow('nginx was not reloaded. because');
    expect(steps).toEqual([]);
    expect(readFileSync(file, 'utf8')).toBe('server a:1;\nserver b:1;\n');
  });

  test.each([
    ['does not answer', {}],
    ['is not ready', { '/health': '{"uptime_s":0}', '/metrics': '' }],
    [
      'still is the process from before the restart',
      { '/health': '{"uptime_s":9}', '/metrics': '', '/ready': '' },
    ],
  ])('stops at a replica that %s, and leaves it out', async (problem, answers: Record<string, string>) => {
    writeFileSync(file, 'server a:1;\nserver b:1 down;\n');
    const probe = async ({ host }: Replica, path: string) => (host === 'a' ? '' : answers[path]);
    const { steps, done } = deploy({}, { probe });
    await expect(done).rejects.toThrow(
      `b:1 did not come back: it stays out of nginx, and the others serve. After 0 s it ${problem}.`,
    );
    expect(steps.filter((step) => step.startsWith('restart'))).toEqual(['restart b']);
    expect(readFileSync(file, 'utf8')).toBe('server a:1;\nserver b:1 down;\n');
  });

  test('stops where a restart fails', async () => {
    writeFileSync(file, 'server a:1 down;\nserver b:1;\n');
    const restart = () => Promise.reject(new CommandError('`x` failed'));
    const { done } = deploy({ b: true }, { restart });
    await expect(done).rejects.toThrow(/^a:1 did not come back: .* `x` failed$/);
    expect(readFileSync(file, 'utf8')).toBe('server a:1 down;\nserver b:1;\n');
  });
});
