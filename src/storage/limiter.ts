import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import { LEASE_TTL_MS, type Limiter } from '../core/ports.ts';
import { isUnlimited, type LimitName } from '../domain/limit.ts';
import { type Bounds, describe, toBounds, toClaimed, toDecision, toSettled, UNKNOWN } from './bucket.ts';
import { atTurnEnd, type Connection } from './connection.ts';
import type { Ask } from './silence.ts';

type Kind = 'claim' | 'settle' | 'renew' | 'peek';
type Reply = readonly [refusedBy: number, waitMs: number, requests: number, tokens: number, active: number];
const REPLY_LENGTH = 5;

interface Operation {
  readonly kind: Kind;
  readonly request: string;
  readonly tokens: number;
  readonly bounds: Bounds;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

/** What is done to the limits of one key in one turn of the event loop. */
interface Batch {
  readonly keyId: string;
  readonly operations: Operation[];
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
      ...operations: (string | number)[]
    ): Result<number[], Context>;
  }
}

const REFUSED_BY: readonly LimitName[] = ['requests', 'tokens', 'concurrency'];

/**
 * Limits in Redis, exact over all replicas: each decision is in one script, hence one round trip and one step of the
 * server, shared with what else is decided about the same key in the same turn of the event loop. Unlike what the port promises, every method rejects while Redis is away; `createDegradingLimiter` is what
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

  const send = ({ keyId, operations }: Batch) => {
    // The braces put what belongs to one key into one slot of a cluster.
    const keys = `${prefix}:{${keyId}}:`;
    const encoded = operations.flatMap(encode);
    askFor(keyId)(() =>
      redis.limit(`${keys}used`, `${keys}held`, `${keys}expiry`, LEASE_TTL_MS, ...encoded),
    ).then(
      (replies) => {
        for (const [index, { resolve }] of operations.entries()) {
          const at = index * REPLY_LENGTH;
          resolve(replies.slice(at, at + REPLY_LENGTH) as unknown as Reply);
        }
      },
      (error: unknown) => {
        for (const { reject } of operations) reject(error);
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
    const batch: Batch = { keyId, operations: [] };
    gathered.push(batch);
    return batch;
  };
  const run = (kind: Kind, keyId: string, request: string, tokens: number, bounds: Bounds): Promise<Reply> =>
    new Promise((resolve, reject) => {
      batchFor(keyId).operations.push({ kind, request, tokens, bounds, resolve, reject });
    });

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

function encode({ kind, request, tokens, bounds }: Operation): readonly (string | number)[] {
  return [kind, request, tokens, bounds.requests, bounds.tokens, bounds.concurrency];
}

function describeReply([, , requests, tokens, active]: Reply, bounds: Bounds) {
  return describe('exact', { requests, tokens, active }, bounds);
}
