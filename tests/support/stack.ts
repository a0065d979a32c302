/** The whole deployment as Compose runs it: nginx, replicas of the gateway, PostgreSQL, Redis, and simulated Ollamas. */
import { randomBytes } from 'node:crypto';
import { type Simulator, type SimulatorOptions, startSimulator } from '../../simulator/server.ts';
import type { KeyDraft } from '../../src/core/key-rules.ts';
import type { IssuedKey } from '../../src/core/keys.ts';
import { migrate } from '../../src/storage/migrate.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { type GatewayProcess, startGateway } from './gateway.ts';
import { type Nginx, startNginx } from './nginx.ts';
import { type Operator, openOperator } from './operator.ts';
import { type PrivatePostgres, startPostgres } from './postgres.ts';
import { type PrivateRedis, startRedis } from './redis.ts';

export interface StackOptions {
  /** 3 by default. */
  readonly replicas?: number;
  /** Variables of every replica, over those that are set here. */
  readonly env?: Readonly<Record<string, string>>;
  /** One that works on 100 requests at a time by default. */
  readonly simulators?: readonly SimulatorOptions[];
  readonly tls?: boolean;
}

export interface Stack {
  /** Of nginx. */
  readonly url: string;
  readonly nginx: Nginx;
  /** In the order of nginx's list. Where one has been started again, the new process is in its place. */
  readonly replicas: readonly GatewayProcess[];
  readonly simulators: readonly Simulator[];
  readonly postgres: PrivatePostgres;
  readonly redis: PrivateRedis;
  readonly operator: Operator;
  /** The secret of a key that may administer. */
  readonly adminKey: string;
  createKey(draft?: Partial<KeyDraft>): Promise<IssuedKey>;
  /** Starts a replica on the port it had, after it has ended in whatever way. */
  restart(index: number): Promise<GatewayProcess>;
  close(): Promise<void>;
}

/** What Redis has been told survives its end, though not that of the machine. */
const AS_IN_COMPOSE = ['--appendonly', 'yes', '--appendfsync', 'no'];

export async function startStack(options: StackOptions = {}): Promise<Stack> {
  await using opened = new AsyncDisposableStack();
  const simulators = await Promise.all((options.simulators ?? [{ parallel: 100 }]).map(startSimulator));
  opened.defer(async () => void (await Promise.all(simulators.map((simulator) => simulator.close()))));
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis({ args: AS_IN_COMPOSE })]);
  opened.defer(() => postgres.close());
  opened.defer(() => redis.close());
  await migrateOnce(postgres.url);
  const operator = await openOperator(postgres.url);
  opened.defer(() => operator.close());

  const count = options.replicas ?? 3;
  const adminKey = `llmgw_${randomBytes(32).toString('hex')}`;
  const start = (index: number, port: string) =>
    startGateway({
      PORT: port,
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      OLLAMA_URLS: simulators.map((simulator) => simulator.url).join(','),
      GATEWAY_ADMIN_KEY: adminKey,
      REPLICAS: String(count),
      REPLICA_ID: `gateway-${index + 1}`,
      TRUSTED_PROXIES: '1',
      ...options.env,
    });
  const starts = await Promise.allSettled(Array.from({ length: count }, (_, index) => start(index, '0')));
  const replicas = starts.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  opened.defer(async () => void (await Promise.all(replicas.map((replica) => replica.stop()))));
  for (const result of starts) if (result.status === 'rejected') throw result.reason;
  const ports = replicas.map(({ url }) => new URL(url).port);
  const upstreams = ports.map((port) => `127.0.0.1:${port}`);
  const nginx = await startNginx({ upstreams, tls: options.tls ?? false });
  opened.defer(() => nginx.stop());

  const resources = opened.move();
  return {
    url: nginx.url,
    nginx,
    replicas,
    simulators,
    postgres,
    redis,
    operator,
    adminKey,
    createKey: (draft) => operator.createKey(draft),
    async restart(index) {
      const replica = await start(index, ports[index] ?? '0');
      replicas[index] = replica;
      return replica;
    },
    async close() {
      redis.thaw();
      await postgres.thaw();
      await resources.disposeAsync();
    },
  };
}

async function migrateOnce(url: string): Promise<void> {
  const database = await openPostgres({ url, prepare: migrate });
  await database.close();
}
