import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { Signal } from '../../src/core/ports.ts';
import { type ClosableSignals, createLocalSignals, openSignals } from '../../src/storage/signals.ts';
import { sharedRedisUrl, startRedis } from '../support/redis.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';

type Heard = Signal | { readonly type: 'lost' };

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource.close();
});

function open(url: string, prefix: string, listening = true): ClosableSignals {
  const signals = openSignals({ url, prefix, listening });
  opened.push(signals);
  return signals;
}

/** Everything a subscriber hears, in order, to be awaited one by one. */
function listenTo(signals: ClosableSignals) {
  const heard: Heard[] = [];
  const waiting: ((signal: Heard) => void)[] = [];
  const unsubscribe = signals.subscribe((signal) => {
    const next = waiting.shift();
    if (next) next(signal);
    else heard.push(signal);
  });
  return {
    heard,
    unsubscribe,
    next: () => {
      const signal = heard.shift();
      return signal ? Promise.resolve(signal) : new Promise<Heard>((resolve) => waiting.push(resolve));
    },
  };
}

function keyChanged(keyId: string): Signal {
  return { type: 'keyChanged', keyId };
}

/** On the first node, in the case of a cluster: that is where everybody listens as long as it is there. */
async function subscribers(url: string, channel: string, count: number): Promise<void> {
  const redis = new Redis(url.split(',')[0] ?? '');
  redis.on('error', () => undefined);
  try {
    for (;;) {
      const [, subscribed] = (await redis.pubsub('NUMSUB', channel)) as [string, number];
      if (subscribed === count) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } finally {
    redis.disconnect();
  }
}

describe('signals within one process', () => {
  test('reach every subscriber, until it unsubscribes', () => {
    const signals = createLocalSignals();
    const [first, second] = [listenTo(signals), listenTo(signals)];
    signals.publish(keyChanged('a'));
    first.unsubscribe();
    signals.publish(keyChanged('b'));
    expect(first.heard).toEqual([keyChanged('a')]);
    expect(second.heard).toEqual([keyChanged('a'), keyChanged('b')]);
  });
});

let cluster: RedisCluster;
beforeAll(async () => {
  cluster = await startRedisCluster();
});
afterAll(() => cluster.close());

describe.each([
  ['Redis', () => sharedRedisUrl()],
  ['a Redis Cluster', () => cluster.url],
])('signals through %s', (_name, urlOf) => {
  test('reach the publisher at once and once, and every other replica', async () => {
    const [url, prefix] = [urlOf(), `test-${randomUUID()}`];
    const [here, there] = [open(url, prefix), open(url, prefix)];
    const [own, other] = [listenTo(here), listenTo(there)];
    await subscribers(url, `${prefix}:signals`, 2);

    here.publish(keyChanged('a'));
    expect(own.heard).toEqual([keyChanged('a')]);
    expect(await other.next()).toEqual(keyChanged('a'));
    there.publish(keyChanged('b'));
    expect(await own.next()).toEqual(keyChanged('a'));
    // Had the first one come back to its publisher, it would be between the two.
    expect(await own.next()).toEqual(keyChanged('b'));
  });

  test('leave before a process that only publishes ends, although it has only just started', async () => {
    const [url, prefix] = [urlOf(), `test-${randomUUID()}`];
    const listener = listenTo(open(url, prefix));
    await subscribers(url, `${prefix}:signals`, 1);
    const command = openSignals({ url, prefix, listening: false });
    command.publish(keyChanged('a'));
    await command.close();
    expect(await listener.next()).toEqual(keyChanged('a'));
  });

  test('are ignored where they are none', async () => {
    const [url, prefix] = [urlOf(), `test-${randomUUID()}`];
    const listener = listenTo(open(url, prefix));
    await subscribers(url, `${prefix}:signals`, 1);
    // In the case of a cluster, on another node than the listener.
    const redis = new Redis(url.split(',').at(-1) ?? '');
    opened.push({ close: () => redis.disconnect() });
    const malformed = [
      '',
      '{',
      '7',
      'null',
      '[]',
      '{"type":"keyChanged"}',
      '{"type":"keyChanged","keyId":7}',
    ];
    for (const message of [...malformed, JSON.stringify({ type: 'unheard' })]) {
      await redis.publish(`${prefix}:signals`, message);
    }
    await redis.publish(`${prefix}:signals`, JSON.stringify(keyChanged('real')));
    expect(await listener.next()).toEqual(keyChanged('real'));
  });
});

describe('signals in an outage', () => {
  test('that may have been missed are made known when Redis is back, and those published meanwhile arrive', async () => {
    const redis = await startRedis();
    opened.push(redis);
    const [here, there] = [open(redis.url, 'test'), open(redis.url, 'test')];
    const [own, other] = [listenTo(here), listenTo(there)];
    await subscribers(redis.url, 'test:signals', 2);
    await redis.stop();
    here.publish(keyChanged('a'));
    expect(await own.next()).toEqual(keyChanged('a'));
    await redis.start();
    const heard = [await other.next()];
    // It may come before the subscription is back, in which case `lost` stands for it.
    if (heard[0]?.type !== 'lost') heard.push(await other.next());
    expect(heard).toContainEqual({ type: 'lost' });
    expect(await own.next()).toEqual({ type: 'lost' });
    here.publish(keyChanged('b'));
    for (let signal = await other.next(); ; signal = await other.next()) {
      if (signal.type === 'keyChanged' && signal.keyId === 'b') break;
    }
  });

  test('hold nobody up where Redis never answers', async () => {
    const redis = await startRedis();
    opened.push(redis);
    redis.freeze();
    const signals = openSignals({ url: redis.url, prefix: 'test' });
    const listener = listenTo(signals);
    signals.publish(keyChanged('a'));
    expect(listener.heard).toEqual([keyChanged('a')]);
    await signals.close();
  });
});
