/** The two cores, and what processes on them take. Linux only: it asks `/proc`, and pins with `taskset`. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { findFreePort, findProgram, type ServerProcess, startServer } from '../tests/support/programs.ts';

/** The process under measurement has a core to itself; everything else shares the other one. */
const MEASURED_CORE = '0';
const OTHER_CORE = '1';

const findTaskset = () => findProgram('taskset', { debianPackage: 'util-linux' });

/** Moves this process to the other core, and with it everything that it will start. */
export async function leaveMeasuredCore(): Promise<void> {
  if (availableParallelism() < 2)
    throw new Error('The benchmark needs two cores: one for the gateway alone.');
  const taskset = await findTaskset();
  const move = () => promisify(execFile)(taskset, ['-a', '-c', '-p', OTHER_CORE, String(process.pid)]);
  // It fails where a thread of this process ends while it goes through them.
  await move().catch(move).catch(move);
}

/** A process on the measured core. */
export interface MeasuredProcess extends ServerProcess {
  /** From starting it to its first answer. */
  readonly startMs: number;
}

/**
 * Starts a program on the measured core, with these variables and no others, and waits until it answers.
 * @param ready a path that it answers with 200.
 */
export async function startMeasured(options: {
  readonly command: readonly string[];
  readonly url: string;
  readonly ready: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}): Promise<MeasuredProcess> {
  const { command, env = {}, cwd, url, ready } = options;
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const clean = ['env', '-i', `PATH=${process.env['PATH'] ?? ''}`, ...variables];
  const [program = '', ...args] = await onMeasuredCore([...clean, ...command]);
  const began = performance.now();
  const server = await startServer(program, args, { ...(cwd && { cwd }) });
  await untilAnswers(url + ready, server);
  return { ...server, startMs: performance.now() - began };
}

/** A command that runs on the measured core. The process keeps the id it starts with. */
export async function onMeasuredCore(command: readonly string[]): Promise<readonly string[]> {
  return [await findTaskset(), '-c', MEASURED_CORE, ...command];
}

/** Starts a program of this harness on the other core. */
export async function startBeside(script: string, args: readonly string[]): Promise<ServerProcess> {
  return await startServer(process.execPath, [script, ...args]);
}

const GIVE_UP_MS = 30_000;

export async function untilAnswers(url: string, server: ServerProcess): Promise<void> {
  let running = true;
  void server.exited.then(() => {
    running = false;
  });
  const giveUpAt = performance.now() + GIVE_UP_MS;
  while (running && performance.now() < giveUpAt) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(1000) }).catch(() => undefined);
    await answer?.arrayBuffer();
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`nothing answers at ${url}: ${server.output().slice(-2000)}`);
}

export async function freeUrl(): Promise<{ readonly port: number; readonly url: string }> {
  const port = await findFreePort();
  return { port, url: `http://127.0.0.1:${port}` };
}

/** CPU time of a process so far, all of its living threads together, in microseconds. */
export function cpuMicros(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const [onCpu] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
    nanoseconds += Number(onCpu);
  }
  return nanoseconds / 1000;
}

/** Memory that a process occupies, in megabytes of 1,000,000 bytes. */
export function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return (Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024) / 1e6;
}

/** @returns a function that says which share of the other core has been in use since, from 0 to 1. */
export function watchOtherCore(): () => number {
  return watchUse(`cpu${OTHER_CORE}`);
}

/** @param line of `/proc/stat`: `cpu` for all cores together, `cpu0` for the first one. */
function watchUse(line: string): () => number {
  const before = readTicks(line);
  return () => {
    const after = readTicks(line);
    return 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all);
  };
}

function readTicks(name: string): { readonly idle: number; readonly all: number } {
  const lines = readFileSync('/proc/stat', 'utf8').split('\n');
  const line = lines.find((one) => one.startsWith(`${name} `)) ?? '';
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { idle: (ticks[3] ?? 0) + (ticks[4] ?? 0), all: ticks.reduce((sum, one) => sum + one, 0) };
}

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly node: string;
  /** Share of the machine that others used before the run. */
  readonly busyBefore: number;
}

export async function describeMachine(): Promise<Machine> {
  const use = watchUse('cpu');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    node: process.version,
    busyBefore: use(),
  };
}
