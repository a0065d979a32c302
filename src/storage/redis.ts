import type { Redis } from 'ioredis';
import type {
  Clock,
  DependencyState,
  Ledger,
  Limiter,
  Signals,
  Telemetry,
  UsageSink,
} from '../core/ports.ts';
import { connect } from './connection.ts';
import { createDegradingLimiter } from './degrading.ts';
import { createRedisLimiter } from './limiter.ts';
import { createMemoryLimiter } from './memory.ts';
import { createLocalSignals, openSignals } from './signals.ts';
import { createSilenceGuard } from './silence.ts';
import { startUsageMover } from './usage-mover.ts';
import { createUsageQueue, keep } from './usage-queue.ts';
import { createStreamSink } from './usage-stream.ts';
import { createWatch } from './watch.ts';

/** How long Redis may be silent before it counts as away: what an outage costs the requests that meet it first. */
export const SILENCE_MS = 200;
const FIRST_CONTACT_MS = 1000;

/** What the replicas of one gateway share, besides the database. */
export interface SharedState {
  readonly limiter: Limiter;
  readonly signals: Signals;
  readonly usage: UsageSink;
  /** `embedded`: this process shares with nobody. */
  state(): DependencyState['state'];
  /** Brings recorded usage to safety, within bounds, and ends every connection. */
  close(): Promise<void>;
}

interface SharedStateOptions {
  readonly ledger: Ledger;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

interface RedisStateOptions extends SharedStateOptions {
  /** `redis://user:password@host:port/database`, or `rediss://` for TLS. */
  readonly url: string;
  /** How many replicas share the limits while Redis is away. */
  readonly replicas: number;
  /** Begins every key and channel. */
  readonly prefix?: string;
  /** See `startUsageMover`. */
  readonly reclaimAfterMs?: number;
}

/** Without Redis: a single process, which counts for itself and writes to the ledger directly. */
export function openInProcess({ ledger, telemetry, clock }: SharedStateOptions): SharedState {
  const signals = createLocalSignals();
  const usage = createUsageQueue({
    telemetry,
    clock,
    store: (records) => keep(ledger, telemetry, records),
  });
  return {
    limiter: createMemoryLimiter(clock),
    signals,
    usage,
    state: () => 'embedded',
    async close() {
      await usage.flush();
      usage.close();
      await signals.close();
    },
  };
}

/**
 * Opens what is shared through Redis, on four connections: commands, usage entries (reads that block), and two for
 * signals. Resolves after the first contact, also where that fails: see the failure table.
 */
export async function openRedis(options: RedisStateOptions): Promise<SharedState> {
  const { url, replicas, ledger, telemetry, clock, prefix = 'llmgw', reclaimAfterMs } = options;
  let lastError: Error | undefined;
  const redis = connect(url, (error) => {
    lastError = error;
  });
  // A write, as a server that is a read-only replica or out of memory answers reads.
  const ask = createSilenceGuard(SILENCE_MS);
  const probe = async () => {
    await ask(() => redis.set(`${prefix}:probe`, 1, 'PX', 60_000));
  };
  let catchUp = () => {};
  const watch = createWatch(probe, (up, reason) => {
    reportChange(telemetry, up, reason);
    if (up) catchUp();
  });
  await firstContact(redis);
  if (redis.status !== 'ready') watch.failed(lastError);
  redis.on('close', () => watch.failed(lastError));
  redis.on('ready', () => void watch.check());

  const stream = `${prefix}:usage`;
  const usage = createStreamSink({ redis, ask, stream, watch, ledger, telemetry, clock });
  const mover = startUsageMover({
    url,
    stream,
    ledger,
    telemetry,
    clock,
    ...(reclaimAfterMs !== undefined && { reclaimAfterMs }),
  });
  const signals = openSignals({ url, prefix });
  const limiter = createDegradingLimiter({
    shared: createRedisLimiter(redis, prefix, ask),
    local: createMemoryLimiter(clock, 'degraded'),
    watch,
    replicas,
    clock,
  });
  catchUp = () => {
    limiter.catchUp();
    // Others may have had something to say in vain, even where the subscription itself has survived.
    signals.suspectLoss();
  };

  return {
    limiter,
    signals,
    usage,
    state: () => (watch.isUp() ? 'up' : 'down'),
    async close() {
      await usage.flush();
      usage.close();
      await Promise.all([mover.close(), signals.close()]);
      watch.close();
      redis.disconnect();
    },
  };
}

/** One line when it goes and one when it comes back, however many requests notice. */
function reportChange(telemetry: Telemetry, up: boolean, reason: unknown): void {
  if (up) telemetry.log('info', 'Redis is back: limits are exact over all replicas');
  else {
    telemetry.log(
      'warn',
      'Redis is away: each replica limits its share, usage goes to the database directly',
      {
        reason: reason instanceof Error ? reason.message : undefined,
      },
    );
  }
}

/** Until the first connection is made, has failed, or has had time enough. */
function firstContact(redis: Redis): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      redis.off('ready', done);
      redis.off('close', done);
      resolve();
    };
    const timer = setTimeout(done, FIRST_CONTACT_MS);
    redis.once('ready', done);
    redis.once('close', done);
  });
}
