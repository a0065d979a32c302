import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Cluster } from 'ioredis';
import { type Shards, watchShards } from '../../../src/storage/shards.ts';
import { slotOf } from '../../../src/storage/slot.ts';

/** Of which nothing is there but what it knows of its slots. */
let cluster: Cluster;
let shards: Shards;
let changes: string[];

function assign(tag: string, master: string): void {
  cluster.slots[slotOf(tag)] = [master];
}

beforeEach(() => {
  cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true });
  changes = [];
  shards = watchShards(cluster, {
    prefix: 'test',
    probe: () => Promise.reject(new Error('away')),
    onChange: (up, _reason, master) => changes.push(`${up ? 'up' : 'down'} ${master ?? ''}`.trim()),
    lastError: () => undefined,
  });
});
afterEach(() => {
  shards.close();
  cluster.disconnect();
});

describe('the masters of a cluster', () => {
  test('are one shard each, whichever of their keys is asked for', () => {
    for (const [tag, master] of [
      ['a', 'one:6379'],
      ['b', 'one:6379'],
      ['c', 'two:6379'],
    ] as const) {
      assign(tag, master);
    }
    expect(shards.of('a')).toBe(shards.of('b'));
    expect(shards.of('a')).not.toBe(shards.of('c'));
  });

  test('go away by themselves, and all together are up when none of them is away', () => {
    assign('a', 'one:6379');
    assign('b', 'two:6379');
    shards.of('a').watch.failed(new Error('gone'));
    expect([shards.of('a'), shards.of('b')].map(({ watch }) => watch.isUp())).toEqual([false, true]);
    shards.of('b').watch.failed(new Error('gone'));
    expect(shards.areUp()).toBe(false);
    expect(changes).toEqual(['down one:6379']);
  });

  test('are forgotten when they hold nothing any more, and what they were is no outage', () => {
    assign('a', 'one:6379');
    shards.of('a').watch.failed(new Error('gone'));
    expect(shards.areUp()).toBe(false);
    assign('a', 'two:6379');
    cluster.emit('refresh');
    expect(shards.areUp()).toBe(true);
    expect(changes).toEqual(['down one:6379', 'up']);
  });

  test('are not blamed for slots that are on their way', () => {
    assign('a', 'one:6379');
    const error = new Error('Too many Cluster redirections. Last error: ReplyError: TRYAGAIN');
    shards.of('a').watch.failed(error);
    expect(shards.areUp()).toBe(true);
  });
});
