import { describe, expect, jest, test } from '@jest/globals';
import { Cancellation, forwardAbort } from '../../../src/core/signal.ts';
import { keptOf } from '../../support/kept.ts';

describe('a cancellation', () => {
  test('tells those who listen, once, and for which reason', () => {
    const cancellation = new Cancellation();
    const [stays, leaves] = [jest.fn(), jest.fn()];
    cancellation.addEventListener('abort', stays);
    cancellation.addEventListener('abort', leaves);
    cancellation.removeEventListener('abort', leaves);
    expect(cancellation.aborted).toBe(false);
    cancellation.abort('over');
    cancellation.abort('again');
    expect(stays).toHaveBeenCalledTimes(1);
    expect(leaves).not.toHaveBeenCalled();
    expect([cancellation.aborted, cancellation.reason]).toEqual([true, 'over']);
  });

  test('tells all others, whoever of them has been taken away', () => {
    for (const gone of [0, 1, 2]) {
      const cancellation = new Cancellation();
      const listeners = [jest.fn(), jest.fn(), jest.fn()];
      for (const listener of listeners) cancellation.addEventListener('abort', listener);
      // The second time it is none of them any more.
      for (let time = 0; time < 2; time++)
        cancellation.removeEventListener('abort', listeners[gone] as never);
      cancellation.abort('over');
      expect(listeners.map(({ mock }) => mock.calls.length)).toEqual([0, 1, 2].map((at) => +(at !== gone)));
    }
  });

  test('does not tell who has been taken away by one that was told before', () => {
    const cancellation = new Cancellation();
    const taken = jest.fn();
    cancellation.addEventListener('abort', () => cancellation.removeEventListener('abort', taken));
    cancellation.addEventListener('abort', taken);
    cancellation.abort('over');
    expect(taken).not.toHaveBeenCalled();
  });

  test('does not tell who comes too late, be it while it tells the others', () => {
    const cancellation = new Cancellation();
    const late = jest.fn();
    cancellation.addEventListener('abort', () => cancellation.addEventListener('abort', late));
    cancellation.abort('over');
    cancellation.addEventListener('abort', late);
    expect(late).not.toHaveBeenCalled();
  });

  test('has its reason by the time it is heard of', () => {
    const cancellation = new Cancellation();
    const seen: unknown[] = [];
    cancellation.addEventListener('abort', () => seen.push(cancellation.aborted, cancellation.reason));
    cancellation.abort('over');
    expect(seen).toEqual([true, 'over']);
  });

  test('keeps nobody who has left from being collected with the young objects', async () => {
    const group = `(() => {
      const cancellation = new loaded.Cancellation();
      return {
        add(member) {
          member.listeners = [() => member];
          cancellation.addEventListener('abort', member.listeners[0]);
        },
        delete: (member) => cancellation.removeEventListener('abort', member.listeners[0]),
      };
    })()`;
    expect(await keptOf({ module: 'core/signal.ts', group })).toBeLessThan(0.1);
  });
});

describe('forwarding', () => {
  test.each([
    ['an AbortController', () => new AbortController()],
    ['a cancellation', () => new Cancellation()],
  ])('makes one abort when the other does, %s, also where it has been aborted already', (_name, create) => {
    const source = create();
    const from = source instanceof Cancellation ? source : source.signal;
    const [before, after, parted] = [new Cancellation(), new Cancellation(), new Cancellation()];
    forwardAbort(from, before);
    forwardAbort(from, parted)();
    source.abort('over');
    forwardAbort(from, after);
    expect([before.reason, after.reason, parted.aborted]).toEqual(['over', 'over', false]);
  });
});
