import { Cluster } from 'ioredis';
import type {
  Clock,
  DependencyState,
  Limiter,
  Signals,
  Telemetry,
  UsageBacklog,
  UsageSink,
} from '../core/ports.ts';
import { GatewayError } from '../domain/error.ts';
import { type Connection, connect } from './connection.ts';
import { createDegradingLimiter } from './degrading.ts';
import type { EntryLedger } from './ledger.ts';
import { createRedisLimiter } from './limiter.ts';
import { createMemoryLimiter } from './memory.ts';
import { type Shards, watchShards } from './shards.ts';
import { createLocalSignals, openSignals } from './signals.ts';
import { createUsageQueue, keep } from './usage-queue.ts';
import { createStreamSink } from './usage-stream.ts';
import { startUsageSweep } from './usage-sweep.ts';

/** What the replicas of one gateway share, besides the database. */
export interface SharedState {
  readonly limiter: Limiter;
  readonly signals: Signals;
  readonly usage: UsageSink;
  /** `embedded`: this process shares with nobody. */
  state(): DependencyState['state'];
  /** What of Redis was seen by the last probe, and is absent while Redis is away. */
  backlog(): readonly UsageBacklog[];
  /** Brings recorded usage to safety, within bounds, and ends every connection. */
  close(): Promise<void>;
}

interface SharedStateOptions {
  readonly ledger: EntryLedger;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

interface RedisStateOptions extends SharedStateOptions {
  /** As `REDIS_URL`: `redis://user:password@host:port/database`, or the nodes of a cluster. `rediss://` is TLS. */
  readonly url: string;
  /** How many replicas share the limits while Redis is away. */
  readonly replicas: number;
  /** Begins every key and channel. */
  readonly prefix?: string;
  /** See `startUsageSweep`. */
  readonly leftBehindMs?: number;
}

/** Without Redis: a single process, which counts for itself and writes to the ledger directly. */
export function openInProcess({ ledger, telemetry, clock }: SharedStateOptions): SharedState {
  const signals = createLocalSignals();
  const usage = createUsageQueue({
    telemetry,
    clock,
    store: (entries) => keep(ledger, telemetry, entries),
  });
  return {
    limiter: createMemoryLimiter(clock),
    signals,
    usage,
    state: () => 'embedded',
    backlog: () => [{ place: 'memory', records: usage.waiting() }],
    async close() {
      await usage.flush();
      usage.close();
      await signals.close();
    },
  };
}

/**
 * Opens what is shared through Redis, on three connections: one for commands, which is one for each master of a cluster,
 * and two for signals. Resolves after the first contact, also where that fails: see the failure table.
 */
export async function openRedis(options: RedisStateOptions): Promise<SharedState> {
  const { url, replicas, ledger, telemetry, clock, prefix = 'llmgw', leftBehindMs } = options;
  const stream = `${prefix}:usage`;
  let catchUp = () => {};
  const { redis, shards, streamLength } = await openCommands(url, {
    prefix,
    stream,
    telemetry,
    onBack: () => catchUp(),
  });
  const streamShard = () => shards.of(stream);

  const ofUsage = { redis, stream, shard: streamShard, ledger, telemetry, clock };
  const usage = createStreamSink(ofUsage);
  const sweep = startUsageSweep({ ...ofUsage, ...(leftBehindMs !== undefined && { leftBehindMs }) });
  const signals = openSignals({ url, prefix });
  const limiter = createDegradingLimiter({
    shared: createRedisLimiter(redis, prefix, (keyId) => shards.of(keyId).ask),
    local: createMemoryLimiter(clock, 'degraded'),
    watchOf: (keyId) => shards.of(keyId).watch,
    replicas,
    clock,
  });
  catchUp = () => {
    limiter.catchUp();
    // Others may have had something to say in vain, even where the subscription itself has survived.
    signals.reconnect();
  };

  return {
    limiter,
    signals,
    usage,
    state: () => (shards.areUp() ? 'up' : 'down'),
    backlog: () => [
      { place: 'memory', records: usage.waiting() },
      ...(streamShard().watch.isUp() ? [{ place: 'redis' as const, records: streamLength() }] : []),
    ],
    async close() {
      await usage.flush();
      usage.close();
      await Promise.all([sweep.close(), signals.close()]);
      shards.close();
      redis.disconnect();
    },
  };
}

/** The connection for commands, looked after. The length of the usage stream is that of the last probe. */
async function openCommands(
  url: string,
  options: {
    readonly prefix: string;
    readonly stream: string;
    readonly telemetry: Telemetry;
    readonly onBack: () => void;
  },
) {
  const { prefix, stream, telemetry, onBack } = options;
  let lastError: Error | undefined;
  const redis = connect(url, (error) => {
    lastError = error;
  });
  let length = 0;
  const shards: Shards = watchShards(redis, {
    prefix,
    async probe(shard, key) {
      // A write, as a server that is a read-only replica or out of memory answers reads.
      const written = shard.ask(() => redis.set(key, 1, 'PX', 60_000));
      const counted = shards.of(stream) === shard && shard.ask(() => redis.xlen(stream));
      const [, count] = await Promise.all([written, counted]);
      if (count !== false) length = count;
    },
    onChange(up, reason, node) {
      reportChange(telemetry, up, reason, node);
      if (up) onBack();
    },
    lastError: () => lastError,
  });
  await shards.contact();
  await refuseLoneNode(redis).catch((error: unknown) => {
    shards.close();
    redis.disconnect();
    throw error;
  });
  return { redis, shards, streamLength: () => length };
}

/** One line when it goes and one when it comes back, however many requests notice. */
function reportChange(telemetry: Telemetry, up: boolean, reason: unknown, node: string | undefined): void {
  const away =
    node === undefined
      ? 'Redis is away: each replica limits its share, usage goes to the database directly'
      : 'Redis is away in part: each replica limits its share of the keys on this node';
  if (up) telemetry.log('info', 'Redis is back: limits are exact over all replicas');
  else telemetry.log('warn', away, { node, reason: reason instanceof Error ? reason.message : undefined });
}

/** @throws GatewayError where it is a node of a cluster: it would take some keys and refuse all others. */
async function refuseLoneNode(redis: Connection): Promise<void> {
  if (redis instanceof Cluster) return;
  const info = await redis.info('cluster').catch(() => '');
  if (!info.includes('cluster_enabled:1')) return;
  throw new GatewayError(
    'internal',
    'REDIS_URL names a single node of a Redis Cluster. Name several, comma-separated, or add ?cluster=true.',
  );
}
