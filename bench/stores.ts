import { Redis } from 'ioredis';
import { migrate } from '../src/storage/migrate.ts';
import { openPostgres } from '../src/storage/postgres.ts';
import { openOperator } from '../tests/support/operator.ts';
import { startPostgres } from '../tests/support/postgres.ts';
import { startRedis } from '../tests/support/redis.ts';

/** The PostgreSQL and the Redis behind one gateway, on the core that is not measured. */
export interface Stores {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  /** A secret with every scope of inference. All of its limits are on, and none is ever reached. */
  readonly key: string;
  /** Resolves when every finished request is in the ledger. */
  untilRecorded(): Promise<void>;
  close(): Promise<void>;
}

const LIMITS = {
  requestsPerMinute: 100_000_000,
  tokensPerMinute: 1_000_000_000,
  concurrentRequests: 1_000_000,
};

const USAGE_STREAM = 'llmgw:usage';
const RECORDED_WITHIN_MS = 30_000;

export async function startStores(): Promise<Stores> {
  await using opened = new AsyncDisposableStack();
  const postgres = await startPostgres();
  opened.defer(() => postgres.close());
  const server = await startRedis();
  opened.defer(() => server.close());
  const redis = new Redis(server.url);
  opened.defer(() => redis.disconnect());

  await (await openPostgres({ url: postgres.url, prepare: migrate })).close();
  const operator = await openOperator(postgres.url);
  const scopes = ['chat', 'models'];
  const { secret } = await operator.createKey({ name: 'bench', scopes, limits: LIMITS });
  await operator.close();

  const resources = opened.move();
  return {
    databaseUrl: postgres.url,
    redisUrl: server.url,
    key: secret,
    async untilRecorded() {
      const giveUpAt = performance.now() + RECORDED_WITHIN_MS;
      while ((await redis.xlen(USAGE_STREAM)) > 0) {
        if (performance.now() > giveUpAt) throw new Error('the ledger does not keep up with the requests');
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    close: () => resources.disposeAsync(),
  };
}
