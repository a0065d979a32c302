import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { createDatabase } from '../support/postgres.ts';
import { sharedRedisUrl } from '../support/redis.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';

const redis = async () => ({ url: sharedRedisUrl(), drop: async () => {} });
const cluster = async () => {
  const { url, close } = await startRedisCluster();
  return { url, drop: close };
};

test.each([
  ['Redis', redis],
  ['a Redis Cluster', cluster],
  ['PostgreSQL', createDatabase],
] as const)(
  'what was sent to %s is collected with the young objects, and not copied to the old ones',
  async (store, create) => {
    const database = await create();
    const program = join(import.meta.dirname, '../support/content-kept.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--expose-gc',
      program,
      store,
      database.url,
    ]);
    await database.drop();
    expect(Number(stdout)).toBeLessThan(0.3);
  },
);
