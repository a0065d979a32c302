/**
 * Drives the limiter on Redis as the gateway does, as a process: `node bench/load/admission.ts REDIS_URL SECONDS`.
 * Prints its figures as JSON.
 */
import { once } from 'node:events';
import { Redis } from 'ioredis';
import type { Claim } from '../../src/domain/limit.ts';
import { connect } from '../../src/storage/connection.ts';
import { createRedisLimiter } from '../../src/storage/limiter.ts';
import { SILENCE_MS } from '../../src/storage/shards.ts';
import { createSilenceGuard } from '../../src/storage/silence.ts';
import { Collected, percentile } from '../figures.ts';
import type { Sample } from '../samples.ts';

export type AdmissionFigures = Readonly<Record<'claim' | 'settle', Sample['metrics']>>;

const AT_ONCE = 64;
const ALONE = 100;

const [url = '', seconds] = process.argv.slice(2);
const redis = connect(url, () => undefined);
await once(redis, 'ready');
const ask = createSilenceGuard(SILENCE_MS);
const limiter = createRedisLimiter(redis, 'bench', () => ask);
const limits = {
  requestsPerMinute: 100_000_000,
  tokensPerMinute: 1_000_000_000,
  concurrentRequests: 1_000_000,
};

let made = 0;
const nextClaim = (): Claim => ({ id: `request-${made++}`, keyId: 'key', limits, tokens: 1000 });

/** Runs `act` on every claim, so many at once. @returns decisions/s, CPU and latency of each. */
async function time(
  claims: readonly Claim[],
  act: (claim: Claim) => Promise<unknown>,
): Promise<Sample['metrics']> {
  const times = new Collected();
  const cpu = process.cpuUsage();
  const start = performance.now();
  let at = 0;
  const work = async () => {
    for (let claim = claims[at++]; claim; claim = claims[at++]) {
      const asked = performance.now();
      await act(claim);
      times.add(performance.now() - asked);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const elapsedSeconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const sorted = times.sorted();
  return {
    decisionsPerSecond: claims.length / elapsedSeconds,
    cpuMicros: (user + system) / claims.length,
    p50Ms: percentile(sorted, 50),
    p99Ms: percentile(sorted, 99),
  };
}

/** What Redis itself sees of one claim after the other. What its scripts do is not counted: it does not travel. */
async function countRoundTrips(): Promise<number> {
  const observer = new Redis(url);
  const monitor = await observer.monitor();
  let commands = 0;
  monitor.on('monitor', (_time: string, args: readonly string[], source: string) => {
    if (source !== 'lua' && /^evalsha$|^eval$|^script$/i.test(args[0] ?? '')) commands++;
  });
  for (let count = 0; count < ALONE; count++) await limiter.claim(nextClaim());
  // Comes to the monitor behind everything else.
  await redis.ping();
  await new Promise((resolve) => setTimeout(resolve, 100));
  monitor.disconnect();
  observer.disconnect();
  return commands / ALONE;
}

async function main(): Promise<AdmissionFigures> {
  const roundTrips = await countRoundTrips();
  const batch = Array.from({ length: 5000 }, nextClaim);
  await time(batch, limiter.claim);
  await time(batch, (claim) => limiter.settle(claim, 100));

  const claims: Sample['metrics'][] = [];
  const settlements: Sample['metrics'][] = [];
  for (const end = performance.now() + Number(seconds) * 1000; performance.now() < end; ) {
    const next = Array.from({ length: 5000 }, nextClaim);
    claims.push(await time(next, limiter.claim));
    settlements.push(await time(next, (claim) => limiter.settle(claim, 100)));
  }
  return { claim: { ...average(claims), roundTrips }, settle: average(settlements) };
}

function average(all: readonly Sample['metrics'][]): Sample['metrics'] {
  const names = Object.keys(all[0] ?? {}) as (keyof Sample['metrics'])[];
  return Object.fromEntries(
    names.map((name) => [name, all.reduce((sum, one) => sum + (one[name] ?? 0), 0) / all.length]),
  );
}

const figures = await main();
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit());
