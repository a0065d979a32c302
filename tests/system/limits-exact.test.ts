import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import type { Limits } from '../../src/domain/limit.ts';
import { openRedis } from '../../src/storage/redis.ts';
import { sharedRedisUrl } from '../support/redis.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';
import type { ClaimReport, Task } from '../support/replica.ts';
import { createTestLedger, createTestTelemetry } from '../support/shared-state.ts';

const prefix = `test-${randomUUID()}`;

async function startReplica(url: string, env: NodeJS.ProcessEnv = {}): Promise<ChildProcess> {
  const program = join(import.meta.dirname, '../support/replica.ts');
  const replica = fork(program, [url, prefix], { execArgv: [], env: { ...process.env, ...env } });
  await once(replica, 'message');
  return replica;
}

function tell(replica: ChildProcess, task: Task): void {
  replica.send(task);
}

async function stop(replica: ChildProcess): Promise<void> {
  if (replica.exitCode !== null || replica.signalCode !== null) return;
  const exited = once(replica, 'exit');
  replica.kill('SIGKILL');
  await exited;
}

/** What the replicas share, and what of their environment it takes to reach it. */
interface Shared {
  readonly url: string;
  readonly env?: NodeJS.ProcessEnv;
  close(): Promise<void>;
}

async function shareCluster(options: Parameters<typeof startRedisCluster>[0]): Promise<Shared> {
  const { url, certificate, close } = await startRedisCluster(options);
  return { url, close, ...(certificate !== undefined && { env: { NODE_EXTRA_CA_CERTS: certificate } }) };
}

describe.each<readonly [string, () => Promise<Shared>]>([
  ['Redis', async () => ({ url: sharedRedisUrl(), close: async () => undefined })],
  ['Redis Cluster', () => shareCluster({})],
  ['Redis Cluster with TLS and a password', () => shareCluster({ tls: true, password: 'a, b:c@d' })],
])('three replicas on one %s', (_name, share) => {
  let shared: Shared;
  let replicas: readonly ChildProcess[] = [];
  beforeAll(async () => {
    shared = await share();
    replicas = await Promise.all([1, 2, 3].map(() => startReplica(shared.url, shared.env)));
  });
  afterAll(async () => {
    await Promise.all(replicas.map(stop));
    await shared.close();
  });

  /** Every replica claims at the same time. @returns how many claims passed, over all of them. */
  async function claimEverywhere(limits: Limits, tokens: number, count: number): Promise<number> {
    const keyId = randomUUID();
    const reports = await Promise.all(
      replicas.map(async (replica, index) => {
        const share = Math.floor(count / 3) + (index < count % 3 ? 1 : 0);
        const claims = Array.from({ length: share }, () => ({ id: randomUUID(), keyId, limits, tokens }));
        const answer = once(replica, 'message');
        tell(replica, { do: 'claim', claims });
        const [report] = (await answer) as [ClaimReport];
        return report;
      }),
    );
    expect(new Set(reports.flatMap((report) => report.modes))).toEqual(new Set(['exact']));
    return reports.reduce((sum, report) => sum + report.admitted, 0);
  }

  test.each<readonly [string, Limits, number]>([
    ['request', { requestsPerMinute: 1 }, 0],
    ['request’s worth of tokens', { tokensPerMinute: 1000 }, 1000],
    ['concurrency slot', { concurrentRequests: 1 }, 0],
  ])('admit exactly one of 1,000 simultaneous claims for one %s', async (_unit, limits, tokens) => {
    expect(await claimEverywhere(limits, tokens, 1000)).toBe(1);
  });

  test('admit exactly as many as the limit, however many ask', async () => {
    expect(await claimEverywhere({ concurrentRequests: 37, tokensPerMinute: 1_000_000 }, 10, 600)).toBe(37);
  });
});

test('a replica that is killed in the moment an answer could go out loses no usage of it', async () => {
  const replica = await startReplica(sharedRedisUrl());
  // All in one turn: as many as a busy replica may finish at once, and what the server takes in one read (16 kB).
  const ids = Array.from({ length: 15 }, () => randomUUID());
  const exited = once(replica, 'exit');
  tell(replica, { do: 'recordAndDie', ids });
  expect(await exited).toEqual([null, 'SIGKILL']);

  const ledger = createTestLedger();
  const survivor = await openRedis({
    url: sharedRedisUrl(),
    prefix,
    replicas: 3,
    ledger,
    telemetry: createTestTelemetry(),
    clock: systemClock,
    leftBehindMs: 100,
  });
  try {
    await ledger.has(ids);
  } finally {
    await survivor.close();
  }
});
