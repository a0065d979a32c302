import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import type { Limits } from '../../src/domain/limit.ts';
import { openRedis } from '../../src/storage/redis.ts';
import { sharedRedisUrl } from '../support/redis.ts';
import type { ClaimReport, Task } from '../support/replica.ts';
import { createTestLedger, createTestTelemetry } from '../support/shared-state.ts';

const prefix = `test-${randomUUID()}`;

async function startReplica(): Promise<ChildProcess> {
  const program = join(import.meta.dirname, '../support/replica.ts');
  const replica = fork(program, [sharedRedisUrl(), prefix], { execArgv: [] });
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

describe('three replicas on one Redis', () => {
  let replicas: readonly ChildProcess[] = [];
  beforeAll(async () => {
    replicas = await Promise.all([startReplica(), startReplica(), startReplica()]);
  });
  afterAll(() => Promise.all(replicas.map(stop)));

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

test('a replica that is killed in the moment it has recorded usage loses none of it', async () => {
  const replica = await startReplica();
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
    reclaimAfterMs: 100,
  });
  try {
    await ledger.has(ids);
  } finally {
    await survivor.close();
  }
});
