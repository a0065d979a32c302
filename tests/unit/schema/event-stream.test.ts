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
