import { type ChildProcess, execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { type Stack, startStack } from '../support/stack.ts';
import {
  type Failure,
  type Load,
  startLoad,
  streamedByDefaultRest,
  streamedByGraphQL,
  streamedByRest,
  streamedByWebSocket,
  wholeByRest,
} from '../support/traffic.ts';

const ROOT = join(import.meta.dirname, '../..');

let stack: Stack;
let supervisor: string;
/** Indexes of replicas that end when they are to restart, and do not come back. */
const broken = new Set<number>();
let load: Load | undefined;
const runs: ChildProcess[] = [];
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  stack = await startStack({ env: { SHUTDOWN_GRACE_MS: '20000' } });
  opened.defer(() => stack.close());
  supervisor = await startSupervisor();
}, 120_000);
afterEach(async () => {
  for (const run of runs.splice(0)) run.kill();
  await load?.stop();
});
afterAll(() => opened.disposeAsync());

/** Restarts the second replica on `POST /2`, as systemd and Compose do: SIGTERM, its end, and a new process. */
async function startSupervisor(): Promise<string> {
  const server = createServer((request, response) => {
    const index = Number(request.url?.slice(1)) - 1;
    const restart = async () => {
      await stack.replicas[index]?.stop();
      if (!broken.has(index)) await stack.restart(index);
    };
    restart().then(
      () => response.end(),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  opened.defer(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Run {
  readonly code: number | null;
  /** The lines that it printed, on both streams. */
  readonly lines: readonly string[];
}

function deploy(...options: readonly string[]): Promise<Run> {
  const args = [
    ...['--upstreams', stack.nginx.upstreamsFile],
    ...['--restart', `curl --fail --silent --show-error --request POST ${supervisor}/{n}`],
    // As soon as it is sent, like `nginx -s reload`.
    ...['--reload', `kill -HUP ${stack.nginx.pid}`],
    ...options,
  ];
  return new Promise((resolve) => {
    const command = ['scripts/rolling-deploy.ts', ...args];
    const child = execFile(process.execPath, command, { cwd: ROOT }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, lines: `${stdout}${stderr}`.trim().split('\n') }),
    );
    runs.push(child);
  });
}

const addresses = () =>
  [...readFileSync(stack.nginx.upstreamsFile, 'utf8').matchAll(/^server (\S+)/gm)].map(([, one]) => one);
const down = () =>
  [...readFileSync(stack.nginx.upstreamsFile, 'utf8').matchAll(/^server (\S+).* down;$/gm)].map(
    ([, one]) => one,
  );
const causes = (failed: readonly Failure[]) => failed.map(({ kind, cause }) => `${kind}: ${cause}`);
const SHORT = { tokens: 20, paceMs: 40 };
const SHORTER = { tokens: 5, paceMs: 30 };

test('stops at a replica that does not come back, and the others serve every request', async () => {
  const { secret } = await stack.createKey();
  load = startLoad(
    { url: stack.url, secret },
    {
      streamed: { create: streamedByRest, clients: 3, script: SHORT },
      whole: { create: wholeByRest, clients: 2, script: SHORTER },
    },
  );
  await load.untilCompleted(10);
  const [first] = addresses();
  const pids = stack.replicas.map(({ pid }) => pid);
  broken.add(0);
  const { code, lines } = await deploy('--ready', '1');
  broken.clear();
  expect([code, lines.at(-1)]).toEqual([
    1,
    `${first} did not come back: it stays out of nginx, and the others serve. After 1 s it does not answer.`,
  ]);
  expect(down()).toEqual([first]);
  expect(stack.replicas.map(({ pid }) => pid)).toEqual(pids);
  await load.untilCompleted(10);
  expect(causes((await load.stop()).failed)).toEqual([]);
});

test('run again it begins with that one, and restarts all under load without a failed request or a cut stream', async () => {
  const { key, secret } = await stack.createKey();
  const pids = stack.replicas.map(({ pid }) => pid);
  const before = stack.nginx.accessLog().length;
  load = startLoad(
    { url: stack.url, secret },
    {
      'long-stream': { create: streamedByRest, clients: 3, script: { tokens: 60, paceMs: 60 } },
      stream: { create: streamedByRest, clients: 3, script: SHORT },
      whole: { create: wholeByRest, clients: 2, script: SHORTER },
      sse: { create: streamedByGraphQL, clients: 2, script: SHORT },
      // Each of them always has an answer under way on a socket, so that no replica is ever without one by itself.
      websocket: { create: streamedByWebSocket, clients: 2, atOnce: 2, script: SHORT },
      'kept-alive': { create: streamedByDefaultRest, clients: 2, script: SHORT },
    },
  );
  await load.untilCompleted(20);
  const deployment = deploy('--drain', '2');
  await eventually('the lock', () => existsSync(`${stack.nginx.upstreamsFile}.lock`));
  expect(await deploy('--drain', '0')).toMatchObject({
    code: 1,
    lines: [expect.stringMatching(/^Process \d+ is at it already/)],
  });
  const { code, lines } = await deployment;
  await load.untilCompleted(20);
  const { completed, failed } = await load.stop();

  expect(causes(failed)).toEqual([]);
  expect([code, lines.at(-1)]).toEqual([0, expect.stringMatching(/^Restarted 3 replicas in \d+ s\.$/)]);
  const restarted = lines.filter((line) => line.endsWith('restarting')).map((line) => line.split(': ')[0]);
  expect(restarted).toEqual(addresses());
  expect(down()).toEqual([]);
  expect(stack.replicas.filter(({ pid }) => pids.includes(pid))).toEqual([]);

  // What a client has from a second try of nginx, or of its own, is no failure; but nothing needed one of nginx.
  const logged = stack.nginx.accessLog().slice(before);
  expect(logged.filter(({ status }) => status !== 200 && status !== 101)).toEqual([]);
  expect(logged.filter(({ upstream }) => String(upstream).includes(','))).toEqual([]);
  const rows = await stack.operator.untilRows(key.keyId, completed.length);
  expect(rows).toHaveLength(completed.length);
  expect(rows.filter(({ status }) => status !== 'ok')).toEqual([]);
}, 180_000);
