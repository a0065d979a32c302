/**
 * A process with nothing but its connection to Redis, told by messages what to do: what tests of several replicas run.
 * Arguments: the address of Redis and the prefix.
 */
import { systemClock } from '../../src/clock.ts';
import type { Claim } from '../../src/domain/limit.ts';
import { openRedis } from '../../src/storage/redis.ts';
import { createTestLedger, createTestTelemetry, usageRecord } from './shared-state.ts';

export type Task =
  | { readonly do: 'claim'; readonly claims: readonly Claim[] }
  /** Records usage and dies as soon as an answer could go out. */
  | { readonly do: 'recordAndDie'; readonly ids: readonly string[] };

export interface ClaimReport {
  readonly admitted: number;
  readonly modes: readonly string[];
}

const [url = '', prefix = ''] = process.argv.slice(2);
const ledger = createTestLedger();
ledger.away = true;
const telemetry = createTestTelemetry();
const state = await openRedis({ url, prefix, replicas: 3, ledger, telemetry, clock: systemClock });

async function perform(task: Task): Promise<void> {
  if (task.do === 'recordAndDie') {
    for (const id of task.ids) state.usage.record(usageRecord(id));
    await state.usage.departure?.();
    process.kill(process.pid, 'SIGKILL');
    return;
  }
  const decisions = await Promise.all(task.claims.map((claim) => state.limiter.claim(claim)));
  const report: ClaimReport = {
    admitted: decisions.filter((decision) => decision.admitted).length,
    modes: [...new Set(decisions.map((decision) => decision.state.mode))],
  };
  process.send?.(report);
}

process.on('message', (task: Task) => void perform(task));
process.on('disconnect', () => process.exit());
process.send?.('ready');
