import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import { LEASE_TTL_MS, type Limiter } from '../core/ports.ts';
import { isUnlimited, type LimitName } from '../domain/limit.ts';
import { type Bounds, describe, toBounds, toClaimed, toDecision, toSettled, UNKNOWN } from './bucket.ts';
import type { Connection } from './connection.ts';
import type { Ask } from './silence.ts';

type Operation = 'claim' | 'settle' | 'renew' | 'peek';
type Reply = readonly [refusedBy: number, waitMs: number, requests: number, tokens: number, active: number];

declare module 'ioredis' {
  interface RedisCommander<Context> {
    /** `limiter.lua`: its keys, then its arguments. */
    limit(
      used: string,
      held: string,
      expiry: string,
      operation: Operation,
      request: string,
      tokens: number,
      requestsBound: number,
      tokensBound: number,
      concurrencyBound: number,
      leaseMs: number,
    ): Result<Reply, Context>;
  }
}

const REFUSED_BY: readonly LimitName[] = ['requests', 'tokens', 'concurrency'];

/**
 * Limits in Redis, exact over all replicas: each decision is one script, hence one round trip and one step of the
 * server. Unlike what the port promises, every method rejects while Redis is away; `createDegradingLimiter` is what
 * stands between.
 * @param askFor how to ask for what belongs to a key.
 */
export function createRedisLimiter(
  redis: Connection,
  prefix: string,
  askFor: (keyId: string) => Ask,
): Limiter {
  redis.defineCommand('limit', {
    lua: readFileSync(join(import.meta.dirname, 'limiter.lua'), 'utf8'),
    numberOfKeys: 3,
  });

  const run = (operation: Operation, keyId: string, request: string, tokens: number, bounds: Bounds) => {
    // The braces put what belongs to one key into one slot of a cluster.
    const keys = `${prefix}:{${keyId}}:`;
    const { requests, tokens: tokensBound, concurrency } = bounds;
    return askFor(keyId)(() =>
      redis.limit(
        `${keys}used`,
        `${keys}held`,
        `${keys}expiry`,
        operation,
        request,
        tokens,
        requests,
        tokensBound,
        concurrency,
        LEASE_TTL_MS,
      ),
    );
  };

  return {
    async claim({ id, keyId, limits, tokens }) {
      const bounds = toBounds(limits);
      if (isUnlimited(limits)) return { admitted: true, state: { mode: 'exact' } };
      const reply = await run('claim', keyId, id, toClaimed(tokens), bounds);
      const by = REFUSED_BY[reply[0] - 1];
      const waitMs = reply[1] < 0 ? Number.POSITIVE_INFINITY : reply[1];
      return toDecision(by && { by, waitMs }, describeReply(reply, bounds));
    },
    async renew(claims) {
      const limited = claims.filter((claim) => !isUnlimited(claim.limits));
      await Promise.all(
        limited.map(({ id, keyId, limits }) => run('renew', keyId, id, UNKNOWN, toBounds(limits))),
      );
    },
    async settle({ id, keyId, limits }, tokens) {
      if (isUnlimited(limits)) return;
      await run('settle', keyId, id, toSettled(tokens), toBounds(limits));
    },
    async peek(keyId, limits) {
      if (isUnlimited(limits)) return { mode: 'exact' };
      const bounds = toBounds(limits);
      return describeReply(await run('peek', keyId, '', 0, bounds), bounds);
    },
  };
}

function describeReply([, , requests, tokens, active]: Reply, bounds: Bounds) {
  return describe('exact', { requests, tokens, active }, bounds);
}
