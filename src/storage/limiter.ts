import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from 'ioredis';
import { LEASE_TTL_MS, type Limiter } from '../core/ports.ts';
import {
  type Decision,
  isUnlimited,
  type LimitName,
  type Limits,
  type LimitsState,
  sameLimits,
} from '../domain/limit.ts';
import { type Bounds, describe, toBounds, toClaimed, toDecision, toSettled, UNKNOWN } from './bucket.ts';
import { atTurnEnd, type Connection } from './connection.ts';
import type { Ask } from './silence.ts';

/** What is to be done, as `limiter.lua` reads it. */
type Operation = readonly [kind: 'claim' | 'settle' | 'renew' | 'peek', request: string, tokens: number];

/** What it answers to `claim` and `peek`. Of the others nothing is to be known. */
type Reply = readonly [refusedBy: number, waitMs: number, requests: number, tokens: number, active: number];

/** What is done to the limits of one key in one turn of the event loop. */
class Batch {
  readonly keyId: string;
  readonly limits: Limits;
  readonly bounds: Bounds;
  readonly operations: Operation[] = [];
  readonly #replies = Promise.withResolvers<readonly Reply[]>();

  constructor(keyId: string, limits: Limits) {
    this.keyId = keyId;
    this.limits = limits;
    this.bounds = toBounds(limits);
  }

  /** Resolves when all of them are done: one promise for those of which nothing else is to be known. */
  add(kind: Operation[0], request: string, tokens: number): Promise<readonly Reply[]> {
    this.operations.push([kind, request, tokens]);
    return this.#replies.promise;
  }

  /** @returns what `read` makes of the reply. */
  ask<T>(
    kind: Operation[0],
    request: string,
    tokens: number,
    read: (reply: Reply, bounds: Bounds) => T,
  ): Promise<T> {
    const index = this.operations.length;
    return this.add(kind, request, tokens).then((replies) => read(replies[index] as Reply, this.bounds));
  }

  answer(replies: Promise<readonly Reply[]>): void {
    this.#replies.resolve(replies);
  }
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
      bounds: string,
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

  const send = (batch: Batch) => {
    // The braces put what belongs to one key into one slot of a cluster.
    const keys = `${prefix}:{${batch.keyId}}:`;
    const bounds = JSON.stringify(batch.bounds);
    // As one text: each argument of a command, and each number of its reply, costs more than what JSON makes of it.
    const operations = JSON.stringify(batch.operations);
    const ask = () =>
      redis.limit(`${keys}used`, `${keys}held`, `${keys}expiry`, LEASE_TTL_MS, bounds, operations);
    batch.answer(askFor(batch.keyId)(ask).then((replies): readonly Reply[] => JSON.parse(replies)));
  };

  let gathered: Batch[] = [];
  const sendAll = () => {
    const batches = gathered;
    gathered = [];
    for (const batch of batches) send(batch);
  };
  const batchFor = (keyId: string, limits: Limits): Batch => {
    // Only the last one, as what is done to a key is done in the order in which it was asked for.
    const last = gathered.findLast((batch) => batch.keyId === keyId);
    if (last && sameLimits(last.limits, limits) && last.operations.length < MOST_OPERATIONS) return last;
    if (gathered.length === 0) atTurnEnd(redis, sendAll);
    const batch = new Batch(keyId, limits);
    gathered.push(batch);
    return batch;
  };

  return {
    claim({ id, keyId, limits, tokens }) {
      if (isUnlimited(limits)) return Promise.resolve({ admitted: true, state: { mode: 'exact' } });
      return batchFor(keyId, limits).ask('claim', id, toClaimed(tokens), decide);
    },
    renew(claims) {
      const limited = claims.filter((claim) => !isUnlimited(claim.limits));
      return Promise.all(
        limited.map(({ id, keyId, limits }) => batchFor(keyId, limits).add('renew', id, UNKNOWN)),
      );
    },
    settle({ id, keyId, limits }, tokens) {
      if (isUnlimited(limits)) return Promise.resolve();
      return batchFor(keyId, limits).add('settle', id, toSettled(tokens));
    },
    peek(keyId, limits) {
      if (isUnlimited(limits)) return Promise.resolve({ mode: 'exact' });
      return batchFor(keyId, limits).ask('peek', '', 0, describeReply);
    },
  };
}

function decide(reply: Reply, bounds: Bounds): Decision {
  const by = REFUSED_BY[reply[0] - 1];
  const waitMs = reply[1] < 0 ? Number.POSITIVE_INFINITY : reply[1];
  return toDecision(by && { by, waitMs }, describeReply(reply, bounds));
}

function describeReply([, , requests, tokens, active]: Reply, bounds: Bounds): LimitsState {
  return describe('exact', { requests, tokens, active }, bounds);
}
