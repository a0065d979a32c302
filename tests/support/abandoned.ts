/** What a killed replica leaves behind in Redis, and what half a minute does to it. */
import { LEASE_TTL_MS } from '../../src/core/ports.ts';
import type { PrivateRedis } from './redis.ts';

/**
 * Ends the leases of a key's running requests, as half a minute without a renewal does.
 * @param most how many at most: those that were renewed the longest ago, such as the ones of a killed replica.
 * @returns how many.
 */
export async function endLeases(
  redis: PrivateRedis,
  keyId: string,
  most = Number.POSITIVE_INFINITY,
): Promise<number> {
  const expiry = `llmgw:{${keyId}}:expiry`;
  const running = (await redis.command('HKEYS', `llmgw:{${keyId}}:held`)) as readonly string[];
  const leases = (await redis.command('ZRANGE', expiry, 0, -1)) as readonly string[];
  const ended = leases.filter((id) => running.includes(id)).slice(0, most);
  for (const id of ended) {
    const ends = Number(await redis.command('ZSCORE', expiry, id));
    await redis.command('ZADD', expiry, 'XX', ends - LEASE_TTL_MS, id);
  }
  return ended.length;
}
