import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import { LEASE_TTL_MS, type Limiter } from '../core/ports.ts';
import { isUnlimited, type LimitName } from '../domain/limit.ts';
import { type Bounds, describe, toBounds, toClaimed, toDecision, toSettled, UNKNOWN } from './bucket.ts';
import { atTurnEnd, type Connection } from './connection.ts';
import type { Ask } from './silence.ts';

/** What is to be done, as `limiter.lua` reads it. */
interface Operation {
  readonly kind: 'claim' | 'settle' | 'renew' | 'peek';
  readonly request: string;
  readonly tokens: number;
  readonly bounds: Bounds;
}

/** What it answers to `claim` and `peek`. Of the others nothing is to be known. */
type Reply = readonly [refusedBy: number, waitMs: number, requests: number, tokens: number, active: number];

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: unknown): void;
}

/** What is done to the limits of one key in one turn of the event loop. */
interface Batch {
  readonly keyId: string;
  readonly operations: Operation[];
  /** For each operation, who asked for it. */
  readonly waiting: Waiting[];
}

/** Operations in one step of the server, which does nothing else meanwhile. */
const MOST_OPERATIONS = 50;

declare module 'ioredis' {
  interface RedisCommander<Context> {
    /** `limiter.lua`: its keys, then its arguments. */
    limit(
      used: string,
      held: string,
      expiry: string,
      leaseMs: number,
      operations: string,
    ): Result<string, Context>;
  }
}

const REFUSED_BY: readonly LimitName[] = ['requests', 'tokens', 'concurrency'];

/**
 * Limits in Redis, exact over all replicas: each decision is in one script, hence one round trip and one step of the
 * server, shared with what else is decided about the same key in the same turn of the event loop. Unlike what the port
 * promises, every method rejects while Redis is away; `createDegradingLimiter` is what stands between.
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

  const send = ({ keyId, operations, waiting }: Batch) => {
    // The braces put what belongs to one key into one slot of a cluster.
    const keys = `${prefix}:{${keyId}}:`;
    // As one text: each argument of a command, and each number of its reply, costs more than what JSON makes of it.
    const encoded = JSON.stringify(operations);
    askFor(keyId)(() => redis.limit(`${keys}used`, `${keys}held`, `${keys}expiry`, LEASE_TTL_MS, encoded))
      .then((replies): readonly Reply[] => JSON.parse(replies))
      .then(
        (replies) => {
          for (const [index, reply] of replies.entries()) waiting[index]?.resolve(reply);
        },
        (error: unknown) => {
          for (const { reject } of waiting) reject(error);
        },
      );
  };

  let gathered: Batch[] = [];
  const sendAll = () => {
    const batches = gathered;
    gathered = [];
    for (const batch of batches) send(batch);
  };
  const batchFor = (keyId: string): Batch => {
    const open = gathered.find((batch) => batch.keyId === keyId && batch.operations.length < MOST_OPERATIONS);
    if (open) return open;
    if (gathered.length === 0) atTurnEnd(redis, sendAll);
    const batch: Batch = { keyId, operations: [], waiting: [] };
    gathered.push(batch);
    return batch;
  };
  const run = (keyId: string, operation: Operation): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const { operations, waiting } = batchFor(keyId);
      operations.push(operation);
      waiting.push({ resolve, reject });
    });

  return {
    async claim({ id, keyId, limits, tokens }) {
      const bounds = toBounds(limits);
      if (isUnlimited(limits)) return { admitted: true, state: { mode: 'exact' } };
      const reply = await run(keyId, { kind: 'claim', request: id, tokens: toClaimed(tokens), bounds });
      const by = REFUSED_BY[reply[0] - 1];
      const waitMs = reply[1] < 0 ? Number.POSITIVE_INFINITY : reply[1];
      return toDecision(by && { by, waitMs }, describeReply(reply, bounds));
    },
    async renew(claims) {
      const limited = claims.filter((claim) => !isUnlimited(claim.limits));
      await Promise.all(
        limited.map(({ id, keyId, limits }) =>
          run(keyId, { kind: 'renew', request: id, tokens: UNKNOWN, bounds: toBounds(limits) }),
        ),
      );
    },
    async settle({ id, keyId, limits }, tokens) {
      if (isUnlimited(limits)) return;
      await run(keyId, { kind: 'settle', request: id, tokens: toSettled(tokens), bounds: toBounds(limits) });
    },
    async peek(keyId, limits) {
      if (isUnlimited(limits)) return { mode: 'exact' };
      const bounds = toBounds(limits);
      return describeReply(await run(keyId, { kind: 'peek', request: '', tokens: 0, bounds }), bounds);
    },
  };
}

function describeReply([, , requests, tokens, active]: Reply, bounds: Bounds) {
  return describe('exact', { requests, tokens, active }, bounds);
}
