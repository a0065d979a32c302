import { describe, expect, test } from '@jest/globals';
import { handOver, type Stage, staged } from '../../../src/core/stage.ts';
import type { Cancellable } from '../../../src/core/stream.ts';

type Batches = readonly (readonly number[])[];

/** A stream of these batches, and then its end or this failure. */
function createSource(batches: Batches, failure?: Error) {
  const rest = [...batches];
  let left = 0;
  const stream: Cancellable<number> = {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      const value = rest.shift();
      if (value) return { done: false, value };
      if (failure) throw failure;
      return { done: true, value: undefined };
    },
    async return() {
      left++;
      return { done: true, value: undefined };
    },
  };
  return { stream, left: () => left };
}

/** Two stages around a source, and what is called of them, in order. */
function nest(batches: Batches, { failure, inner = {}, outer = {} }: Partial<Hooks> = {}) {
  const calls: string[] = [];
  const source = createSource(batches, failure);
  const opening = (name: string, within: () => AsyncIterable<readonly number[]>) => () => {
    calls.push(`${name} opens`);
    return within();
  };
  const note = (name: string, own: Own): Stage<number> => ({
    ask: () => void calls.push(`${name} is asked`),
    pass(batch) {
      calls.push(`${name} passes ${batch}`);
      return own.pass ? own.pass(batch) : batch;
    },
    fail(thrown) {
      calls.push(`${name} fails: ${(thrown as Error).message}`);
      return own.fail ? own.fail(thrown) : thrown;
    },
    close() {
      calls.push(`${name} closes`);
      return own.close?.();
    },
  });
  const within = () =>
    staged(
      opening('inner', () => source.stream),
      note('inner', inner),
    );
  const stream = staged(opening('outer', within), note('outer', outer));
  return { stream, calls, source };
}

type Own = Partial<Pick<Stage<number>, 'pass' | 'fail' | 'close'>>;
interface Hooks {
  readonly failure: Error;
  readonly inner: Own;
  readonly outer: Own;
}

const explode = (message: string) => () => {
  throw new Error(message);
};

describe('a stage around a stage', () => {
  test('sees each batch after the one within, and closes after it', async () => {
    const { stream, calls } = nest([[1], [2]], {
      inner: { pass: (batch) => batch.map((one) => one * 10) },
      outer: { pass: (batch) => [...batch, 0] },
    });
    expect(calls).toEqual([]);
    expect(await stream.next()).toEqual({ done: false, value: [10, 0] });
    expect(calls.splice(0)).toEqual([
      'outer is asked',
      'outer opens',
      'inner is asked',
      'inner opens',
      'inner passes 1',
      'outer passes 10',
    ]);
    expect(await stream.next()).toEqual({ done: false, value: [20, 0] });
    expect(calls.splice(0).toSorted()).toEqual([
      'inner is asked',
      'inner passes 2',
      'outer is asked',
      'outer passes 20',
    ]);
    expect((await stream.next()).done).toBe(true);
    expect(calls.slice(-2)).toEqual(['inner closes', 'outer closes']);
    calls.length = 0;
    expect((await stream.next()).done).toBe(true);
    expect(calls).toEqual([]);
  });

  test('that has begun already goes on from where it is', async () => {
    const inner = nest([[1], [2]]);
    await inner.stream.next();
    const stream = staged<number>(() => inner.stream, { pass: (batch) => [...batch, 0] });
    expect(await stream.next()).toEqual({ done: false, value: [2, 0] });
    expect((await stream.next()).done).toBe(true);
    expect(inner.calls.filter((call) => /opens|closes/.test(call))).toEqual([
      'outer opens',
      'inner opens',
      'inner closes',
      'outer closes',
    ]);
  });

  test('gets the failure that the one within has made of it', async () => {
    const { stream, calls } = nest([], {
      failure: new Error('lost'),
      inner: { fail: () => new Error('late') },
    });
    await expect(stream.next()).rejects.toThrow('late');
    expect(calls.slice(-4)).toEqual([
      'inner fails: lost',
      'inner closes',
      'outer fails: late',
      'outer closes',
    ]);
  });

  test('that refuses a batch has left what is within', async () => {
    const { stream, calls, source } = nest([[1]], { outer: { pass: explode('too much') } });
    await expect(stream.next()).rejects.toThrow('too much');
    expect(source.left()).toBe(1);
    expect(calls.slice(-3)).toEqual(['inner closes', 'outer fails: too much', 'outer closes']);
    expect(calls).not.toContain('inner fails: too much');
  });

  test('fails for what the one within refuses', async () => {
    const { stream, calls } = nest([[1]], { inner: { pass: explode('too much') } });
    await expect(stream.next()).rejects.toThrow('too much');
    expect(calls.slice(-4)).toEqual([
      'inner fails: too much',
      'inner closes',
      'outer fails: too much',
      'outer closes',
    ]);
  });

  test('is closed though the one within throws when it closes', async () => {
    const ended = nest([], { inner: { close: explode('a bug') } });
    await expect(ended.stream.next()).rejects.toThrow('a bug');
    expect(ended.calls.at(-1)).toBe('outer closes');

    const failed = nest([], { failure: new Error('lost'), inner: { close: explode('a bug') } });
    await expect(failed.stream.next()).rejects.toThrow('a bug');
    expect(failed.calls.at(-1)).toBe('outer closes');

    const refused = nest([[1]], { inner: { close: explode('a bug') }, outer: { pass: explode('too much') } });
    await expect(refused.stream.next()).rejects.toThrow('a bug');
    expect(refused.calls.at(-1)).toBe('outer closes');

    const left = nest([[1]], { inner: { close: explode('a bug') } });
    await left.stream.next();
    await expect(left.stream.return?.()).rejects.toThrow('a bug');
    expect(left.calls.at(-1)).toBe('outer closes');
  });

  test.each([
    { end: 'end', failure: undefined, told: 'done' },
    { end: 'failure', failure: new Error('lost'), told: 'lost' },
  ])('tells its $end once what closing takes is over', async ({ failure, told }) => {
    const closing = Promise.withResolvers<void>();
    const { stream, calls } = nest([], {
      ...(failure && { failure }),
      inner: { close: () => closing.promise },
    });
    const next = stream.next().then(
      () => void calls.push('done'),
      (error: Error) => void calls.push(error.message),
    );
    await new Promise(setImmediate);
    expect(calls.at(-1)).toBe('outer closes');
    closing.resolve();
    await next;
    expect(calls.at(-1)).toBe(told);
  });

  test('closes once when it is left, and leaves what is within', async () => {
    const { stream, calls, source } = nest([[1], [2]]);
    await stream.next();
    await stream.return?.();
    await stream.return?.();
    expect(source.left()).toBe(1);
    expect(calls.slice(-2)).toEqual(['inner closes', 'outer closes']);
    expect(calls.filter((call) => call.endsWith('closes'))).toHaveLength(2);
  });

  test('is not even opened where nobody asked for anything', async () => {
    const { stream, calls } = nest([[1]]);
    await stream.return?.();
    expect((await stream.next()).done).toBe(true);
    expect(calls).toEqual([]);
  });

  test('closes what had been opened when the one within cannot be', async () => {
    const calls: string[] = [];
    const log = (call: string) => () => {
      calls.push(call);
      return undefined;
    };
    const stream = staged<number>(() => staged<number>(explode('refused'), { close: log('inner closes') }), {
      close: log('outer closes'),
    });
    await expect(stream.next()).rejects.toThrow('refused');
    expect(calls).toEqual(['inner closes', 'outer closes']);
  });
});

test('whoever is around a stage that fails at a later batch hears of it, whether or not others take part in batches', async () => {
  const heard: string[] = [];
  const hears = (name: string): Stage<number> => ({
    fail(thrown) {
      heard.push(name);
      return thrown;
    },
  });
  const failing: Stage<number> = {
    pass(batch) {
      if (batch.includes(2)) throw new Error('too much');
      return batch;
    },
  };
  const { stream: within } = createSource([[1], [2]]);
  const innermost = () => staged<number>(() => within, hears('within'));
  const middle = () => staged<number>(innermost, failing);
  const stream = staged<number>(() => staged<number>(middle, hears('around')), hears('outermost'));
  await stream.next();
  await expect(stream.next()).rejects.toThrow('too much');
  expect(heard).toEqual(['around', 'outermost']);
});

test('a stage that is left while the stream within it is being opened leaves that stream too', async () => {
  const { stream: within, left } = createSource([[1]]);
  const opened = Promise.withResolvers<typeof within>();
  const stream = staged<number>(() => opened.promise);
  const next = stream.next();
  const leaves = stream.return?.();
  opened.resolve(within);
  await leaves;
  expect(left()).toBe(1);
  await next;
});

test('a beginning that is left while it ends leaves the stream that it ends with, and gives none of it', async () => {
  const { stream: rest, left } = createSource([[2]]);
  const ends = Promise.withResolvers<void>();
  const stream = handOver<number>(
    (async function* () {
      yield [0];
      await ends.promise;
      return { first: { done: false, value: [1] }, rest };
    })(),
  );
  expect(await stream.next()).toEqual({ done: false, value: [0] });
  const next = stream.next();
  const leaves = stream.return?.();
  ends.resolve();
  expect(await next).toEqual({ done: true, value: undefined });
  expect(await leaves).toEqual({ done: true, value: undefined });
  expect(left()).toBe(1);
});
