import { describe, expect, jest, test } from '@jest/globals';
import { cancellable, holdBack, merge } from '../../../src/core/stream.ts';
import { GatewayError } from '../../../src/domain/error.ts';
import { collect, failing, untilAborted } from '../../support/pipeline.ts';

const never = () => new AbortController().signal;

describe('a cancellable stream', () => {
  test('can be left while it waits, and its source has cleaned up by then', async () => {
    let cleaned = false;
    const stream = cancellable<number>(async function* (signal) {
      try {
        yield [1];
        await untilAborted(signal);
      } finally {
        cleaned = true;
      }
    }, never());
    await stream.next();
    const pending = stream.next().catch((error) => error);
    expect(await stream.return?.()).toEqual({ done: true, value: undefined });
    expect(cleaned).toBe(true);
    expect(await pending).toBeInstanceOf(Error);
  });

  test('can be left before it was started: the source never runs', async () => {
    let ran = false;
    const stream = cancellable<number>(async function* () {
      ran = true;
      yield [1];
    }, never());
    await stream.return?.();
    expect(ran).toBe(false);
    expect((await stream.next()).done).toBe(true);
  });

  test('gives its source a GatewayError as the reason, the outer one where there is one', async () => {
    const reasons: unknown[] = [];
    const listen = (outer: AbortSignal) =>
      cancellable<number>(async function* (signal) {
        signal.addEventListener('abort', () => reasons.push(signal.reason));
        yield [1];
        await untilAborted(signal);
      }, outer);
    const plain = new AbortController();
    const first = listen(plain.signal);
    await first.next();
    plain.abort('a string');
    const shutdown = new AbortController();
    const second = listen(shutdown.signal);
    await second.next();
    shutdown.abort(new GatewayError('shutting_down', 'restarting'));
    expect(reasons).toMatchObject([{ code: 'client_closed' }, { code: 'shutting_down' }]);
    await first.return?.();
    await second.return?.();
  });

  test('leaves no listener on a long-lived outer signal', async () => {
    const outer = new AbortController();
    const added = jest.spyOn(outer.signal, 'addEventListener');
    const removed = jest.spyOn(outer.signal, 'removeEventListener');
    const source = async function* () {
      yield [1];
    };
    await collect(cancellable<number>(source, outer.signal));
    const left = cancellable<number>(source, outer.signal);
    await left.next();
    await left.return?.();
    expect(added).toHaveBeenCalledTimes(2);
    const listeners = new Set(added.mock.calls.map(([, listener]) => listener));
    for (const [, listener] of removed.mock.calls) listeners.delete(listener);
    expect(listeners.size).toBe(0);
  });
});

describe('holding back', () => {
  const batches = (...list: string[][]) =>
    cancellable<string>(async function* () {
      yield* list;
    }, never());
  const isStart = (batch: readonly string[]) => batch.includes('start');

  test('waits for what it is told to wait for, and gives it all back in order', async () => {
    const held = await holdBack(batches(['wait'], ['start', 'a'], ['b']), isStart, 60_000);
    expect(held.committed).toBe(true);
    expect(await collect(held.stream)).toEqual(['wait', 'start', 'a', 'b']);
  });

  test('rejects with what the stream fails with before that', async () => {
    const failing = cancellable<string>(async function* () {
      yield ['wait'];
      throw new Error('no backend');
    }, never());
    await expect(holdBack(failing, isStart, 60_000)).rejects.toThrow('no backend');
  });

  test('gives up waiting in time, and loses nothing that comes later', async () => {
    const gate = Promise.withResolvers<void>();
    const slow = cancellable<string>(async function* () {
      yield ['wait'];
      await gate.promise;
      yield ['start'];
      yield ['a'];
    }, never());
    const held = await holdBack(slow, isStart, 1);
    expect(held.committed).toBe(false);
    gate.resolve();
    expect(await collect(held.stream)).toEqual(['wait', 'start', 'a']);
  });

  test('a failure after the time is up reaches the reader of the stream', async () => {
    const gate = Promise.withResolvers<void>();
    const slow = cancellable<string>(async function* () {
      await gate.promise;
      yield ['never'];
    }, never());
    const held = await holdBack(slow, isStart, 1);
    gate.reject(new Error('late failure'));
    await expect(collect(held.stream)).rejects.toThrow('late failure');
  });

  test('an empty stream is committed: there is nothing left to wait for', async () => {
    const held = await holdBack(batches(), isStart, 60_000);
    expect(held.committed).toBe(true);
    expect(await collect(held.stream)).toEqual([]);
  });
});

describe('merging', () => {
  test('gives every value of every source once, in order within a source', async () => {
    const source = (count: number) =>
      async function* () {
        for (let n = 0; n < count; n++) yield n;
      };
    const seen: Record<number, number[]> = { 0: [], 1: [], 2: [] };
    for await (const { source: from, value } of merge([source(3), source(0), source(5)], 2))
      seen[from]?.push(value);
    expect(seen).toEqual({ 0: [0, 1, 2], 1: [], 2: [0, 1, 2, 3, 4] });
  });

  test('runs no more sources at once than allowed', async () => {
    let running = 0;
    let most = 0;
    const source = async function* () {
      most = Math.max(most, ++running);
      yield 1;
      await new Promise((resolve) => setImmediate(resolve));
      running--;
    };
    let values = 0;
    for await (const { value } of merge(
      Array.from({ length: 9 }, () => source),
      3,
    ))
      values += value;
    expect({ values, most }).toEqual({ values: 9, most: 3 });
  });

  test('does not wait for the others when one fails', async () => {
    const silent = async function* (): AsyncGenerator<number> {
      await new Promise(() => undefined);
      yield 1;
    };
    const broken = () => failing(new Error('failed'));
    await expect(merge([silent, broken], 2).next()).rejects.toThrow('failed');
  });
});
