import { beforeEach, describe, expect, test } from '@jest/globals';
import type { Cancellable } from '../../../src/core/stream.ts';
import type { ChatEvent } from '../../../src/domain/event.ts';
import { coalesce } from '../../../src/schema/coalesce.ts';
import { createTestClock, type TestClock } from '../../support/clock.ts';
import { content, finished, started } from '../../support/fake-gateway.ts';

/** A source that a test feeds by hand. */
function createSource() {
  const waiting: PromiseWithResolvers<IteratorResult<readonly ChatEvent[]>>[] = [];
  let returned = 0;
  const take = () => {
    const asked = waiting.shift();
    if (!asked) throw new Error('nobody asks for a batch');
    return asked;
  };
  const stream: Cancellable<ChatEvent> = {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      const asked = Promise.withResolvers<IteratorResult<readonly ChatEvent[]>>();
      waiting.push(asked);
      return asked.promise;
    },
    async return() {
      returned++;
      return { done: true, value: undefined };
    },
  };
  return {
    stream,
    asked: () => waiting.length,
    returned: () => returned,
    send: (...events: ChatEvent[]) => take().resolve({ done: false, value: events }),
    end: () => take().resolve({ done: true, value: undefined }),
    fail: (error: Error) => take().reject(error),
  };
}

const reasoning = (text: string, choice = 0): ChatEvent => ({ type: 'reasoning', choice, text });
const call: ChatEvent = { type: 'toolCall', choice: 0, index: 0, id: 'c', name: 'f', arguments: '{}' };

let clock: TestClock;
let source: ReturnType<typeof createSource>;
let joined: Cancellable<ChatEvent>;

beforeEach(() => {
  clock = createTestClock();
  source = createSource();
  joined = coalesce(source.stream, 50, clock);
});

/** What comes next, each event as its text or type. */
async function next(): Promise<readonly string[] | undefined> {
  const { done, value } = await joined.next();
  return done ? undefined : value.map((event) => ('text' in event ? event.text : event.type));
}

async function sendFirst(): Promise<void> {
  const first = next();
  source.send(started(), content('a'));
  expect(await first).toEqual(['started', 'a']);
}

describe('joining deltas', () => {
  test('the first of its kind and choice goes out at once', async () => {
    await sendFirst();
    const asked = next();
    source.send(reasoning('thinks'), content('other', 1));
    expect(await asked).toEqual(['thinks', 'other']);
    expect(clock.pending()).toBe(0);
  });

  test('later ones wait for others until the time is up, counted from the first that waits', async () => {
    await sendFirst();
    const asked = next();
    source.send(content('b'));
    await clock.advance(30);
    source.send(content('c'), content('d'));
    await clock.advance(19);
    expect(await Promise.race([asked, 'still waiting'])).toBe('still waiting');
    await clock.advance(1);
    expect(await asked).toEqual(['bcd']);
    expect(clock.pending()).toBe(0);
  });

  test('each window is a new one', async () => {
    await sendFirst();
    for (const text of ['b', 'c']) {
      const asked = next();
      source.send(content(text));
      await clock.advance(50);
      expect(await asked).toEqual([text]);
      // The read that was under way when the window closed serves the next one.
      expect(source.asked()).toBe(1);
    }
  });

  test('what is not a delta goes out at once, behind what waits', async () => {
    await sendFirst();
    const asked = next();
    source.send(content('b'), content('c'), call, finished());
    expect(await asked).toEqual(['bc', 'toolCall', 'finished']);
    expect(clock.pending()).toBe(0);
  });

  test('choices do not mix', async () => {
    await sendFirst();
    const warmUp = next();
    source.send(content('x', 1));
    await warmUp;
    const asked = next();
    source.send(content('b'), content('y', 1), content('c'), content('z', 1), content('d'));
    await clock.advance(50);
    expect(await asked).toEqual(['bcd', 'yz']);
  });

  test('text and thoughts that take turns keep their order', async () => {
    await sendFirst();
    const warmUp = next();
    source.send(reasoning('r'));
    await warmUp;
    const asked = next();
    source.send(content('b'), reasoning('s'), reasoning('t'), content('c'));
    await clock.advance(50);
    expect(await asked).toEqual(['b', 'st', 'c']);
  });

  test('log probabilities are kept in order', async () => {
    await sendFirst();
    const logprob = (token: string) => ({ token, logprob: -1, top: [] });
    const asked = joined.next();
    source.send(
      { ...content('b'), logprobs: [logprob('b')] } as ChatEvent,
      { ...content('c'), logprobs: [logprob('c')] } as ChatEvent,
    );
    await clock.advance(50);
    expect((await asked).value).toEqual([
      { type: 'content', choice: 0, text: 'bc', logprobs: [logprob('b'), logprob('c')] },
    ]);
  });

  test('nothing is lost while nobody asks', async () => {
    await sendFirst();
    const asked = next();
    source.send(content('b'));
    await clock.advance(50);
    expect(await asked).toEqual(['b']);
    // The source is being read already; what comes now finds nobody waiting.
    source.send(content('c'), call);
    await clock.advance(50);
    expect(await next()).toEqual(['c', 'toolCall']);
  });
});

describe('the end of the source', () => {
  test('sends ahead what waits, then ends', async () => {
    await sendFirst();
    const asked = next();
    source.send(content('b'));
    await clock.advance(1);
    source.end();
    expect(await asked).toEqual(['b']);
    expect(await next()).toBeUndefined();
    expect(clock.pending()).toBe(0);
  });

  test('by a failure sends ahead what waits, then fails', async () => {
    await sendFirst();
    const asked = next();
    source.send(content('b'));
    await clock.advance(1);
    source.fail(new Error('cut'));
    expect(await asked).toEqual(['b']);
    await expect(joined.next()).rejects.toThrow('cut');
    expect(clock.pending()).toBe(0);
  });
});

test('leaving reaches the source at once, ends whoever waits, and leaves no timer', async () => {
  await sendFirst();
  const asked = next();
  source.send(content('b'));
  await clock.advance(1);
  await joined.return?.();
  expect(source.returned()).toBe(1);
  expect(await asked).toBeUndefined();
  expect(clock.pending()).toBe(0);
  // What was under way arrives, for nobody.
  source.send(content('c'), content('d'));
  await clock.advance(100);
  expect(clock.pending()).toBe(0);
  expect(await next()).toBeUndefined();
});
