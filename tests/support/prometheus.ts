/** Real Prometheus under the files of `deploy/prometheus`: only the replicas' addresses and the pace are the test's own. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { findFreePort, findProgram, type ServerProcess, startServer } from './programs.ts';

export const PROMETHEUS_FILES = join(import.meta.dirname, '../../deploy/prometheus');

/** Also how long a replica may take to answer a scrape, on a machine that runs all of this at once. */
const SCRAPE_EVERY = '1s';
const EVALUATE_EVERY = '500ms';

export interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Alert {
  readonly name: string;
  readonly state: 'pending' | 'firing';
  readonly labels: Readonly<Record<string, string>>;
}

export interface Prometheus {
  readonly url: string;
  /** Evaluates an expression now. Rejects where it is not one. */
  query(expression: string): Promise<readonly Series[]>;
  /** Evaluates an expression over the last seconds, as a panel of a dashboard does. */
  queryRange(expression: string): Promise<readonly Series[]>;
  /** The alerts whose condition holds now. */
  alerts(): Promise<readonly Alert[]>;
  stop(): Promise<void>;
}

export function findPromtool(): Promise<string> {
  return findProgram('promtool', { debianPackage: 'prometheus' });
}

function findPrometheus(): Promise<string> {
  return findProgram('prometheus', { debianPackage: 'prometheus' });
}

/** Sees to it before the first test that there is a Prometheus. */
export async function installPrometheus(): Promise<() => Promise<void>> {
  await findPrometheus();
  return async () => undefined;
}

/** What it scrapes, e.g. `127.0.0.1:4001`. */
export interface Targets {
  readonly replicas: readonly string[];
  readonly nginx: string;
}

export async function startPrometheus(targets: Targets): Promise<Prometheus> {
  const program = await findPrometheus();
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-prometheus-'));
  cpSync(PROMETHEUS_FILES, directory, { recursive: true });
  adapt(join(directory, 'prometheus.yml'), targets);
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer(
    program,
    [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { cwd: directory },
  );
  await untilReady(url, server);
  const ask = (path: string, parameters: Readonly<Record<string, string>> = {}) =>
    request(`${url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  return {
    url,
    async query(expression) {
      const { result } = (await ask('query', { query: expression })) as { result: readonly InstantResult[] };
      return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
    },
    async queryRange(expression) {
      const end = Date.now() / 1000;
      const range = { query: expression, start: `${end - 10}`, end: `${end}`, step: '1' };
      const { result } = (await ask('query_range', range)) as { result: readonly RangeResult[] };
      return result.map(({ metric, values }) => ({ labels: metric, value: Number(values.at(-1)?.[1]) }));
    },
    async alerts() {
      const { alerts } = (await ask('alerts')) as { alerts: readonly AlertResult[] };
      return alerts.map(({ labels, state }) => ({ name: labels['alertname'] ?? '', state, labels }));
    },
    async stop() {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

interface InstantResult {
  readonly metric: Series['labels'];
  readonly value: readonly [number, string];
}

interface RangeResult {
  readonly metric: Series['labels'];
  readonly values: readonly (readonly [number, string])[];
}

interface AlertResult {
  readonly labels: Series['labels'];
  readonly state: Alert['state'];
}

/** Everything but these stays as operators have it. */
function adapt(path: string, { replicas, nginx }: Targets): void {
  const replacements: readonly (readonly [RegExp, string])[] = [
    [/(?<=scrape_interval: )15s/, SCRAPE_EVERY],
    [/(?<=evaluation_interval: )15s/, EVALUATE_EVERY],
    [/^alerting:\n(?: .*\n)+/m, ''],
    [/\["gateway-1:3000", .*\]/, JSON.stringify(replicas)],
    [/\["nginx:3000"\]/, JSON.stringify([nginx])],
  ];
  let text = readFileSync(path, 'utf8');
  for (const [pattern, replacement] of replacements) {
    if (text.search(pattern) < 0) throw new Error(`prometheus.yml has nothing like ${pattern}`);
    text = text.replace(pattern, replacement);
  }
  writeFileSync(path, text);
}

async function request(url: string): Promise<unknown> {
  const response = await fetch(url);
  const { status, data, error } = (await response.json()) as Readonly<Record<string, unknown>>;
  if (status !== 'success') throw new Error(`Prometheus: ${String(error)}`);
  return data;
}

async function untilReady(url: string, server: ServerProcess): Promise<void> {
  let running = true;
  void server.exited.then(() => {
    running = false;
  });
  await eventually('Prometheus', async () => {
    if (!running) throw new Error(`Prometheus did not start: ${server.output()}`);
    return await fetch(`${url}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  });
}
