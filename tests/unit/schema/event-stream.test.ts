import { describe, expect, test } from '@jest/globals';
import type { Cancellable } from '../../../src/core/stream.ts';
import { createEventStream, type EventEncoder } from '../../../src/schema/event-stream.ts';

function source(...batches: (readonly number[])[]): Cancellable<number> {
  return (async function* () {
    yield* batches;
  })();
}

const plain: EventEncoder<number, string> = {
  encode: String,
  fail: () => undefined,
  end: () => undefined,
};

async function collect(stream: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const value of stream) all.push(value);
  return all;
}

describe('an event stream', () => {
  test('gives the events of all batches one by one, empty batches being none', async () => {
    expect(await collect(createEventStream(source([], [1, 2], [], [3]), plain))).toEqual(['1', '2', '3']);
  });

  test('loses and reorders nothing for whoever asks again without waiting', async () => {
    const stream = createEventStream(source([1, 2], [3]), plain);
    const asked = Array.from({ length: 5 }, () => stream.next());
    expect((await Promise.all(asked)).map(({ value }) => value)).toEqual([
      '1',
      '2',
      '3',
      undefined,
      undefined,
    ]);
  });

  test('ends with the events that the encoder has for an end', async () => {
    expect(await collect(createEventStream(source([1]), { ...plain, end: () => 'end' }))).toEqual([
      '1',
      'end',
    ]);
  });

  test.each([
    ['the first', [13, 1], ['0', 'failed: 13']],
    ['a later one', [1, 13, 2], ['0', '1', 'failed: 13']],
  ])('ends where the encoder fails, at %s of a batch, and leaves its source', async (_which, batch, all) => {
    let left = false;
    const endless: Cancellable<number> = (async function* () {
      try {
        yield [0];
        yield batch;
        yield [3];
      } finally {
        left = true;
      }
    })();
    const encode = (event: number) => {
      if (event === 13) throw new Error(String(event));
      return String(event);
    };
    const fail = (thrown: unknown) => `failed: ${(thrown as Error).message}`;
    expect(await collect(createEventStream(endless, { ...plain, encode, fail }))).toEqual(all);
    expect(left).toBe(true);
  });

  test('turns an exception into its last event', async () => {
    const failing: Cancellable<number> = (async function* () {
      yield [1];
      throw new Error('cut');
    })();
    const stream = createEventStream(failing, { ...plain, fail: (thrown) => `failed: ${thrown}` });
    expect(await collect(stream)).toEqual(['1', 'failed: Error: cut']);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });
});
