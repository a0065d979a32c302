import { Cluster, type Redis } from 'ioredis';
import { type Ask, createSilenceGuard } from './silence.ts';
import { slotOf } from './slot.ts';
import { createWatch, type Watch } from './watch.ts';

/** How long Redis may be silent before it counts as away: what an outage costs the requests that meet it first. */
export const SILENCE_MS = 200;
const FIRST_CONTACT_MS = 1000;
const ASK_AGAIN_MS = 10;

/** What of Redis can be away by itself: the one server, or one master of a cluster. */
export interface Shard {
  readonly ask: Ask;
  readonly watch: Watch;
}

export interface Shards {
  /**
   * Where a key is, as far as is known. Cheap: it is asked for every command.
   * @param tag what the key has in braces, or the whole key where it has none.
   */
  of(tag: string): Shard;
  /** Whether no shard is away. */
  areUp(): boolean;
  /** Resolves after the first contact, also where that fails. */
  contact(): Promise<void>;
  close(): void;
}

interface ShardsOptions {
  /** Begins the keys of probes. */
  readonly prefix: string;
  /** One bounded try of a shard by means of a key that it holds; rejects while it is away. */
  readonly probe: (shard: Shard, key: string) => Promise<void>;
  /**
   * Called when a shard goes away while all were up, and when all are up again.
   * @param master of a cluster, its address.
   */
  readonly onChange: (up: boolean, reason: unknown, master?: string) => void;
  /** Why connections have failed of late. */
  readonly lastError: () => Error | undefined;
}

/** Looks after each shard by itself, so that what is away is only what is away. */
export function watchShards(redis: Redis | Cluster, options: ShardsOptions): Shards {
  return redis instanceof Cluster ? watchCluster(redis, options) : watchServer(redis, options);
}

function watchServer(redis: Redis, { prefix, probe, onChange, lastError }: ShardsOptions): Shards {
  const watch = createWatch(
    () => probe(shard, `${prefix}:probe`),
    (up, reason) => onChange(up, reason),
  );
  const shard: Shard = { ask: createSilenceGuard(SILENCE_MS), watch };
  return {
    of: () => shard,
    areUp: () => watch.isUp(),
    async contact() {
      await firstContact(redis);
      if (redis.status !== 'ready') watch.failed(lastError());
      redis.on('close', () => watch.failed(lastError()));
      redis.on('ready', () => void watch.check());
    },
    close: () => watch.close(),
  };
}

/** In place of a master's address, for slots that are not known to have one. */
const NOBODY = '';

interface Master extends Shard {
  /** Of the key that was looked for last, and hence is here still, most likely. */
  tag: string;
}

function watchCluster(cluster: Cluster, { prefix, probe, onChange, lastError }: ShardsOptions): Shards {
  const masters = new Map<string, Master>();
  let up = true;
  const report = (reason?: unknown, address?: string) => {
    const now = [...masters.values()].every(({ watch }) => watch.isUp());
    if (now === up) return;
    up = now;
    onChange(up, reason, address);
  };

  const meet = (address: string): Master => {
    const guard = createSilenceGuard(SILENCE_MS);
    const watch = createWatch(
      () => probe(master, `${prefix}:probe:{${master.tag}}`),
      (_up, reason) => report(reason, address || undefined),
    );
    const failed = (reason: unknown) => {
      // What a slot on its way refuses says nothing about the master.
      if (!isRedirected(reason)) watch.failed(reason);
    };
    const ask: Ask = (command) => patiently(cluster, () => guard(command));
    const master: Master = { ask, watch: { ...watch, failed }, tag: '' };
    masters.set(address, master);
    return master;
  };
  const of = (tag: string): Shard => {
    const address = cluster.slots[slotOf(tag)]?.[0] ?? NOBODY;
    const master = masters.get(address) ?? meet(address);
    master.tag = tag;
    return master;
  };

  /** Masters that hold nothing any more are nobody's concern. */
  const forget = () => {
    const addresses = new Set(cluster.slots.map(([address]) => address));
    for (const [address, { watch }] of masters) {
      if (addresses.has(address)) continue;
      watch.close();
      masters.delete(address);
    }
    report();
  };
  cluster.on('refresh', forget);

  return {
    of,
    areUp: () => up,
    async contact() {
      await firstContact(cluster);
      if (cluster.status !== 'ready') of(prefix).watch.failed(lastError());
      // Otherwise the first requests would have to wait for it.
      await Promise.allSettled(
        cluster.nodes('master').map((node) => node.status === 'wait' && node.connect()),
      );
    },
    close() {
      cluster.off('refresh', forget);
      for (const { watch } of masters.values()) watch.close();
    },
  };
}

/**
 * Asks again, for as long as silence would be borne, where the refusal passes by itself: while a slot is on its way to
 * another master, and while the connection to a new one is made, in which time the library takes one command for it and
 * refuses all others as if the connection were lost. One that really was may have carried the command out, which
 * everything that is sent here survives.
 */
async function patiently<T>(cluster: Cluster, command: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + SILENCE_MS;
  for (;;) {
    try {
      return await command();
    } catch (error) {
      const passes = isRedirected(error) || (isClosed(error) && isConnecting(cluster));
      if (!passes || performance.now() > giveUpAt) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
  }
}

function isConnecting(cluster: Cluster): boolean {
  return cluster.nodes('master').some(({ status }) => status === 'connecting' || status === 'connect');
}

function isClosed(error: unknown): boolean {
  return error instanceof Error && error.message === 'Connection is closed.';
}

function isRedirected(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('Too many Cluster redirections');
}

/** Until the first connection is made, has failed, or has had time enough. */
function firstContact(redis: Redis | Cluster): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      redis.off('ready', done);
      redis.off('close', done);
      resolve();
    };
    const timer = setTimeout(done, FIRST_CONTACT_MS);
    redis.once('ready', done);
    redis.once('close', done);
  });
}
