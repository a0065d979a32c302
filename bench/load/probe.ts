/**
 * Asks for small things now and then and measures how long each takes, as a process: `node bench/load/probe.ts LOAD`,
 * where the load is JSON. Prints its figures as JSON.
 */
import { constants, setPriority } from 'node:os';
import { Pool } from 'undici';
import { Collected, percentile } from '../figures.ts';

export interface ProbeLoad {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly paths: readonly string[];
  readonly seconds: number;
}

export type ProbeFigures = readonly {
  readonly path: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** How late the probe itself is at the 99th percentile: its pauses end that much after they should. */
  readonly lateMs: number;
  readonly errors: Readonly<Record<string, number>>;
}[];

const PAUSE_MS = 10;
/** The first requests find a connection that has to be made. */
const UNCOUNTED = 20;

async function probe(pool: Pool, path: string, { headers, seconds }: ProbeLoad) {
  const times = new Collected();
  const delays = new Collected();
  const errors: Record<string, number> = {};
  const end = performance.now() + seconds * 1000;
  for (let count = 0; performance.now() < end; count++) {
    const start = performance.now();
    const { statusCode, body } = await pool.request({ path, method: 'GET', headers });
    await body.dump();
    if (statusCode !== 200) errors[`status ${statusCode}`] = (errors[`status ${statusCode}`] ?? 0) + 1;
    if (count >= UNCOUNTED) times.add(performance.now() - start);
    const pausedAt = performance.now();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    delays.add(Math.max(0, performance.now() - pausedAt - PAUSE_MS));
  }
  const sorted = times.sorted();
  const lateMs = percentile(delays.sorted(), 99);
  return { path, p50Ms: percentile(sorted, 50), p99Ms: percentile(sorted, 99), lateMs, errors };
}

/** It shares its core with the load, and is to measure how long the gateway takes, not that. Only root may. */
function hurry(): void {
  try {
    setPriority(constants.priority.PRIORITY_HIGHEST);
  } catch {
    // Its delay is among the figures.
  }
}

hurry();
const load: ProbeLoad = JSON.parse(process.argv[2] ?? '');
const figures: ProbeFigures = await Promise.all(
  load.paths.map((path) => probe(new Pool(load.url, { connections: 1 }), path, load)),
);
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit());
