import { setTimeout as sleep } from 'node:timers/promises';
import { chat } from '../../tests/support/caller.ts';
import type { Timing } from '../../tests/support/event-stream.ts';
import { type Holdings, readHoldings } from '../../tests/support/holdings.ts';
import { startOllama } from '../../tests/support/ollama-process.ts';
import { type Stack, startStack } from '../../tests/support/stack.ts';
import type { Failure } from '../../tests/support/traffic.ts';
import { explain, type Fault, startFaults } from './faults.ts';
import { createHistogram, type Histogram } from './histogram.ts';
import { type KeyedLoad, startLoadOf, startLoads } from './load.ts';
import type { Options } from './options.ts';
import { keepsGrowing, type Samples, startSampling } from './samples.ts';

/** What came of a run. */
export interface SoakResult {
  readonly options: Options;
  readonly seconds: number;
  readonly completed: number;
  readonly failures: readonly ExplainedFailure[];
  readonly injected: readonly Fault[];
  /** Only streams over REST are timed, and their reads with text counted. */
  readonly firstText: Histogram;
  readonly gaps: Histogram;
  /** Absent for a deployment whose machine cannot be seen. */
  readonly stack?: StackResult;
  /** What is wrong, a sentence each. */
  readonly faults: readonly string[];
}

export interface ExplainedFailure extends Failure {
  readonly fault: Fault | undefined;
}

export interface StackResult {
  readonly samples: Samples;
  readonly atEnd: Holdings;
  /** Rows of the run's requests. */
  readonly rows: number;
  readonly lostRows: number;
  readonly tokens: number;
}

const AMPLE = { requestsPerMinute: 10_000_000, tokensPerMinute: 1_000_000_000, concurrentRequests: 100_000 };
const REPORT_MS = 30_000;
/** Longer than the leases of a killed replica last, and longer than its unwritten usage waits to be taken over. */
const SETTLE_WITHIN_MS = 90_000;

/** @param print hears how it goes, every half a minute. */
export async function runSoak(
  options: Options,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<SoakResult> {
  const firstText = createHistogram();
  const gaps = createHistogram();
  const timing: Timing = { firstText: (ms) => firstText.add(ms), gap: (ms) => gaps.add(ms) };
  const measured = { options, firstText, gaps };
  if (options.deployment) {
    const begun = performance.now();
    const loads = startLoadOf(options.deployment, options, timing);
    await watch(loads, options, print, interrupted);
    await Promise.all(loads.map(({ load }) => load.stop()));
    return conclude({ ...measured, ...countOutcomes(loads, []), seconds: secondsSince(begun), injected: [] });
  }

  print('Starting nginx, three replicas, PostgreSQL, Redis and two simulated Ollamas …');
  await using opened = new AsyncDisposableStack();
  const ollamas = await Promise.all([startOllama(2 * options.clients), startOllama(2 * options.clients)]);
  opened.defer(async () => void (await Promise.all(ollamas.map((ollama) => ollama.stop()))));
  const stack = await startStack({
    simulators: [],
    env: { OLLAMA_URLS: ollamas.map(({ url }) => url).join(',') },
  });
  opened.defer(() => stack.close());
  const keys = await createKeys(stack);
  const samples = startSampling(stack);
  const begun = performance.now();
  const loads = startLoads(stack.url, keys, options, timing);
  const until = Date.now() + options.minutes * 60_000;
  const onFault = (name: string) => print(`${clock(secondsSince(begun))}  ${name}`);
  const injection = options.faults && startFaults({ stack, ollamas }, { until, onFault }, interrupted);
  await watch(loads, options, print, interrupted);
  if (injection) await injection.done;
  await Promise.all(loads.map(({ load }) => load.stop()));
  const seconds = secondsSince(begun);
  const atEnd = await settle(stack, [keys.byId.secret, keys.bySocket.secret]);
  await samples.stop();
  const ledger = await readLedger(stack, loads);
  const injected = injection ? injection.faults : [];
  const outcomes = countOutcomes(loads, injected);
  return conclude({ ...measured, ...outcomes, seconds, injected, stack: { samples, atEnd, ...ledger } });
}

async function createKeys(stack: Stack) {
  const create = async () => {
    const { key, secret } = await stack.createKey({ limits: AMPLE });
    return { keyId: key.keyId, secret };
  };
  return { byId: await create(), bySocket: await create() };
}

/** Resolves when the time is over, or all is over. */
async function watch(
  loads: readonly KeyedLoad[],
  { minutes }: Options,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  const begun = performance.now();
  const leftMs = () => minutes * 60_000 - (performance.now() - begun);
  while (leftMs() > 0 && !interrupted.aborted) {
    await sleep(Math.min(REPORT_MS, leftMs()), undefined, { signal: interrupted }).catch(() => undefined);
    const completed = loads.reduce((sum, { load }) => sum + load.completed.length, 0);
    const failed = loads.reduce((sum, { load }) => sum + load.failed.length, 0);
    print(`${clock(secondsSince(begun))}  ${completed} answered, ${failed} failed`);
  }
}

/** Waits until nothing is left to do. Leases that ended with their replica go when their key is used again. */
async function settle(stack: Stack, secrets: readonly string[]): Promise<Holdings> {
  const giveUpAt = Date.now() + SETTLE_WITHIN_MS;
  for (;;) {
    const holdings = await readHoldings(stack).catch((error: Error) => error);
    if (!(holdings instanceof Error)) {
      const { leases, inFlight, waiting, entries } = holdings;
      if (leases + inFlight + waiting + entries === 0 || Date.now() > giveUpAt) return holdings;
    } else if (Date.now() > giveUpAt) throw holdings;
    for (const secret of secrets) {
      const response = await chat(stack, secret, { requestId: 'settling', script: { tokens: 1 } });
      await response.arrayBuffer();
    }
    // Of these the usage, too, has to arrive.
    await sleep(1000);
  }
}

async function readLedger(
  stack: Stack,
  loads: readonly KeyedLoad[],
): Promise<Pick<StackResult, 'rows' | 'lostRows' | 'tokens'>> {
  let rows = 0;
  let lostRows = 0;
  let tokens = 0;
  for (const { load, keyId, hasIds } of loads) {
    const found = await stack.operator.database.query<{ request_id: string; tokens: number; status: string }>(
      `select request_id, coalesce(completion_tokens, 0)::int as tokens, status
         from usage_records where key_id = $1 and request_id is distinct from 'settling'`,
      [keyId],
    );
    const written = new Set(found.map((row) => row.request_id));
    rows += found.length;
    tokens += found.reduce((sum, row) => sum + row.tokens, 0);
    lostRows += hasIds
      ? load.completed.filter((id) => !written.has(id)).length
      : Math.max(0, load.completed.length - found.filter(({ status }) => status === 'ok').length);
  }
  return { rows, lostRows, tokens };
}

function countOutcomes(loads: readonly KeyedLoad[], injected: readonly Fault[]) {
  return {
    completed: loads.reduce((sum, { load }) => sum + load.completed.length, 0),
    failures: loads
      .flatMap(({ load }) => load.failed)
      .map((failure) => ({ ...failure, fault: explain(failure, injected) })),
  };
}

function conclude(result: Omit<SoakResult, 'faults'>): SoakResult {
  const faults: string[] = [];
  const unexplained = result.failures.filter(({ fault }) => !fault).length;
  if (result.completed === 0) faults.push('No request was answered.');
  if (unexplained > 0) faults.push(`${unexplained} requests failed and no fault explains it.`);
  if (result.stack) {
    const { atEnd, lostRows, samples } = result.stack;
    if (lostRows > 0) faults.push(`${lostRows} answered requests have no row in the ledger.`);
    if (atEnd.lost > 0) faults.push(`The replicas gave up ${atEnd.lost} usage records.`);
    if (atEnd.leases > 0) faults.push(`${atEnd.leases} leases are left.`);
    if (atEnd.inFlight > 0) faults.push(`${atEnd.inFlight} requests are still counted as under way.`);
    const unwritten = atEnd.waiting + atEnd.entries;
    if (unwritten > 0) faults.push(`${unwritten} usage records have not reached the ledger.`);
    for (const series of samples.memory.filter(keepsGrowing)) {
      faults.push(`The memory of replica ${series.replica} keeps growing.`);
    }
  }
  return { ...result, faults };
}

function secondsSince(begun: number): number {
  return (performance.now() - begun) / 1000;
}

function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}
