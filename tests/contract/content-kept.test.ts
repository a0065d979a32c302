import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { sharedRedisUrl } from '../support/redis.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';

const redis = async (): Promise<TestDatabase> => ({ url: sharedRedisUrl(), drop: async () => undefined });
const cluster = async (): Promise<TestDatabase> => {
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
    const { url, drop } = await create();
    const program = join(import.meta.dirname, '../support/content-kept.ts');
    const args = ['--expose-gc', program, store, url];
    const { stdout } = await promisify(execFile)(process.execPath, args).finally(drop);
    expect(Number(stdout)).toBeLessThan(0.3);
  },
);
