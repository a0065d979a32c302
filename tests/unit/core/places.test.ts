import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createPlaces, type Place, type PlacesOptions } from '../../../src/core/places.ts';
import { Cancellation } from '../../../src/core/signal.ts';
import type { Backend } from '../../../src/domain/model.ts';
import { createTestClock } from '../../support/clock.ts';
import { backend } from '../../support/pipeline.ts';

const MODEL = 'llama3.1:8b';

/** Places at backends that a test can change, and requests that tell it everything they hear. */
function createLine(options: Partial<PlacesOptions> = {}) {
  const clock = createTestClock();
  const places = createPlaces({ perModel: 1, maxWaiting: 100, patienceMs: 60_000, clock, ...options });
  const line = {
    clock,
    places,
    backends: [backend('ollama-1')] as readonly Backend[],
    /** The names of requests, in the order in which they got a place. */
    served: [] as string[],
    /** What it hears: its positions, and then `served`, `nobody` or the code of its failure. */
    join(name: string, { keyId = name, model = MODEL, tried = [] as readonly string[] } = {}) {
      const signal = new Cancellation();
      const heard: (number | string)[] = [];
      const backends = () => line.backends.filter(({ id }) => !tried.includes(id));
      const candidate = { model, keyId, backends, signal };
      const positions = places.take(candidate);
      let place: Place | undefined;
      const ended = (async () => {
        try {
          const free = places.tryTake(candidate);
          if (free === 'full') {
            for (;;) {
              const { done, value } = await positions.next();
              if (!done) {
                heard.push(value);
                continue;
              }
              place = value;
              break;
            }
          } else place = free;
          heard.push(place ? 'served' : 'nobody');
          if (place) line.served.push(name);
        } catch (error) {
          heard.push((error as { code: string }).code);
        }
      })();
      return {
        heard,
        ended,
        /** Leaves the place, as whoever has got all of an answer. */
        finish: () => place?.leave(),
        waitedMs: () => place?.waitedMs,
        /** As the first moment of `leave`. */
        abort: () => signal.abort({ code: 'client_closed' }),
        /** Leaves the line, as whoever closes the connection. */
        async leave() {
          signal.abort({ code: 'client_closed' });
          await positions.return(undefined);
        },
      };
    },
  };
  return line;
}

describe('a place', () => {
  test('is had at once where one is free, and by nobody else until it is left', async () => {
    const line = createLine({ perModel: 2 });
    const first = line.join('first');
    const second = line.join('second');
    const third = line.join('third');
    await line.clock.advance(0);
    expect([first.heard, second.heard, third.heard]).toEqual([['served'], ['served'], [0]]);
    first.finish();
    await third.ended;
    expect(third.heard).toEqual([0, 'served']);
  });

  test('is one of a backend and a model: another model has its own, and so has another backend', async () => {
    const line = createLine();
    line.backends = [backend('ollama-1'), backend('ollama-2')];
    const requests = [
      line.join('a'),
      line.join('b'),
      line.join('c'),
      line.join('other', { model: 'phi3:mini' }),
    ];
    await line.clock.advance(0);
    expect(requests.map(({ heard }) => heard)).toEqual([['served'], ['served'], [0], ['served']]);
  });

  test('is given with the time that was waited for it', async () => {
    const line = createLine();
    const first = line.join('first');
    const second = line.join('second');
    await line.clock.advance(2500);
    first.finish();
    await second.ended;
    expect([first.waitedMs(), second.waitedMs()]).toEqual([0, 2500]);
  });

  test('is had by everybody, at the best backend, where nothing bounds their number', () => {
    const line = createLine({ perModel: Number.POSITIVE_INFINITY });
    const signal = new Cancellation();
    let able = [backend('best'), backend('other')];
    const candidate = { model: MODEL, keyId: 'a', backends: () => able, signal };
    const places = Array.from({ length: 1000 }, () => line.places.tryTake(candidate));
    expect(new Set(places.map((place) => (place as Place).backend.id))).toEqual(new Set(['best']));
    able = [];
    expect(line.places.tryTake(candidate)).toBeUndefined();
  });

  test('is not to be had where no backend would do', async () => {
    const line = createLine();
    line.backends = [];
    const request = line.join('a');
    await request.ended;
    expect(request.heard).toEqual(['nobody']);
  });
});

describe('a line', () => {
  test('is served in the order of arrival, and tells everybody once a second how many are ahead', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const waiting = ['a', 'b', 'c'].map((name) => line.join(name));
    await line.clock.advance(0);
    expect(waiting.map(({ heard }) => heard)).toEqual([[0], [1], [2]]);
    holder.finish();
    await line.clock.advance(999);
    expect(waiting.map(({ heard }) => heard)).toEqual([[0, 'served'], [1], [2]]);
    await line.clock.advance(1);
    expect(waiting.map(({ heard }) => heard)).toEqual([
      [0, 'served'],
      [1, 0],
      [2, 1],
    ]);
    waiting[0]?.finish();
    await waiting[1]?.ended;
    waiting[1]?.finish();
    await waiting[2]?.ended;
    expect(line.served).toEqual(['holder', 'a', 'b', 'c']);
  });

  test('gives every key its turn, so that many requests of one do not keep another waiting for all of them', async () => {
    const line = createLine();
    let holder = line.join('holder');
    const greedy = [1, 2, 3].map((n) => line.join(`greedy ${n}`, { keyId: 'greedy' }));
    const modest = line.join('modest 1', { keyId: 'modest' });
    await line.clock.advance(1000);
    expect(modest.heard).toEqual([1]);
    expect(greedy.map(({ heard }) => heard)).toEqual([[0], [1, 2], [2, 3]]);
    const late = line.join('modest 2', { keyId: 'modest' });
    for (const next of [greedy[0], modest, greedy[1], late, greedy[2]]) {
      holder.finish();
      await next?.ended;
      if (next) holder = next;
    }
    expect(line.served.slice(1)).toEqual(['greedy 1', 'modest 1', 'greedy 2', 'modest 2', 'greedy 3']);
  });

  test('puts whoever comes later behind those whose turn it is, be it a key that has not been served yet', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const greedy = [1, 2, 3].map((n) => line.join(`greedy ${n}`, { keyId: 'greedy' }));
    await line.clock.advance(0);
    holder.finish();
    const late = line.join('late');
    for (const next of [greedy[0], greedy[1], late, greedy[2]]) {
      await next?.ended;
      next?.finish();
    }
    expect(line.served).toEqual(['holder', 'greedy 1', 'greedy 2', 'late', 'greedy 3']);
  });

  test('lets nobody overtake it, even at the moment a place becomes free', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const first = line.join('first');
    await line.clock.advance(0);
    holder.finish();
    const late = line.join('late');
    await first.ended;
    expect(late.heard).not.toContain('served');
    first.finish();
    await late.ended;
    expect(line.served).toEqual(['holder', 'first', 'late']);
  });

  test('is left at once by who leaves it, and the others move up', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const [first, second] = [line.join('first'), line.join('second')];
    await line.clock.advance(0);
    await first.leave();
    expect(first.heard).toEqual([0, 'client_closed']);
    await line.clock.advance(1000);
    expect(second.heard).toEqual([1, 0]);
    holder.finish();
    await second.ended;
    expect(line.served).toEqual(['holder', 'second']);
    expect(line.places.waiting()).toBe(0);
  });

  test('passes on the place of who leaves in the moment of getting it', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const [first, second] = [line.join('first'), line.join('second')];
    await line.clock.advance(0);
    holder.finish();
    await first.leave();
    first.finish();
    await second.ended;
    expect(second.heard).toEqual([1, 'served']);
  });

  test('gives back the place of who left without having heard of it', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const candidate = { model: MODEL, keyId: 'a', backends: () => line.backends, signal: new Cancellation() };
    const positions = line.places.take(candidate);
    expect(await positions.next()).toEqual({ done: false, value: 0 });
    holder.finish();
    expect(line.places.tryTake(candidate)).toBe('full');
    await positions.return(undefined);
    expect(line.places.tryTake(candidate)).toMatchObject({ backend: { id: 'ollama-1' } });
  });

  test('refuses whoever would make it too long, and takes others again once it is shorter', async () => {
    const line = createLine({ maxWaiting: 2 });
    const holder = line.join('holder');
    const other = line.join('other', { model: 'phi3:mini' });
    const [a, b, refused] = [line.join('a'), line.join('b', { model: 'phi3:mini' }), line.join('c')];
    await refused.ended;
    expect(refused.heard).toEqual(['upstream_busy']);
    expect(line.places.waiting()).toBe(2);
    holder.finish();
    await a.ended;
    const late = line.join('late');
    await line.clock.advance(0);
    expect(late.heard).toEqual([0]);
    other.finish();
    await b.ended;
  });

  test('is waited in for so long and no longer', async () => {
    const line = createLine({ patienceMs: 5000 });
    line.join('holder');
    const waiting = line.join('waiting');
    await line.clock.advance(4999);
    expect(waiting.heard).toEqual([0]);
    await line.clock.advance(1);
    expect(waiting.heard).toEqual([0, 'upstream_busy']);
    expect(line.clock.pending()).toBe(0);
  });

  test('sees within a second that a backend has come up, and that the last one has gone', async () => {
    const line = createLine();
    line.join('holder');
    const [first, second] = [line.join('first'), line.join('second')];
    await line.clock.advance(0);
    line.backends = [backend('ollama-1'), backend('ollama-2')];
    await line.clock.advance(1000);
    expect(first.heard).toEqual([0, 'served']);
    line.backends = [];
    await line.clock.advance(1000);
    expect(second.heard).toEqual([1, 0, 'nobody']);
  });

  test('goes before whoever comes in the moment in which a backend comes up', async () => {
    const line = createLine();
    line.join('holder');
    const first = line.join('first');
    await line.clock.advance(0);
    line.backends = [backend('ollama-1'), backend('ollama-2')];
    const late = line.join('late');
    await first.ended;
    expect([first.heard, late.heard]).toEqual([[0, 'served'], [0]]);
  });

  test('gives no place to who has left in the same moment', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const [first, second] = [line.join('first'), line.join('second')];
    await line.clock.advance(0);
    first.abort();
    holder.finish();
    await second.ended;
    expect([first.heard, second.heard]).toEqual([
      [0, 'client_closed'],
      [1, 'served'],
    ]);
  });

  test('does not keep a request from the one backend that it has not tried', async () => {
    const line = createLine();
    line.backends = [backend('ollama-1'), backend('ollama-2')];
    const [first] = [line.join('first'), line.join('second')];
    const failedAtFirst = line.join('failed at the first', { tried: ['ollama-1'] });
    await line.clock.advance(0);
    first.finish();
    const late = line.join('late');
    await late.ended;
    expect(failedAtFirst.heard).toEqual([0]);
    expect(line.served).toEqual(['first', 'second', 'late']);
  });

  test('needs no timer while nobody waits', async () => {
    const line = createLine();
    const holder = line.join('holder');
    const waiting = line.join('waiting');
    await line.clock.advance(3000);
    holder.finish();
    await waiting.ended;
    waiting.finish();
    expect(line.clock.pending()).toBe(0);
  });

  test('never gives more places than there are, nor keeps one that somebody waits for, whoever comes and goes', async () => {
    const step = fc.record({
      act: fc.constantFrom('join', 'join', 'finish', 'leave', 'look'),
      who: fc.nat(20),
      key: fc.constantFrom('a', 'b', 'c'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 3 }),
        async (acts, perModel) => {
          const line = createLine({ perModel });
          type Request = ReturnType<typeof line.join> & { over?: boolean };
          const requests: Request[] = [];
          const isServed = (one: Request) => one.heard.at(-1) === 'served';
          const end = async (one: Request | undefined, how: 'finish' | 'leave') => {
            if (!one || one.over || (how === 'finish') !== isServed(one)) return;
            one.over = true;
            await one[how]();
          };
          for (const { act, who, key } of acts) {
            if (act === 'join') requests.push(line.join(`${requests.length}`, { keyId: key }));
            else if (act === 'look') await line.clock.advance(1000);
            else await end(requests[who], act);
            await line.clock.advance(0);
            const running = requests.filter((one) => isServed(one) && !one.over).length;
            const waiting = requests.filter((one) => !isServed(one) && !one.over).length;
            expect(running).toBe(Math.min(perModel, running + waiting));
            expect(line.places.waiting()).toBe(waiting);
          }
          for (const one of requests) await end(one, isServed(one) ? 'finish' : 'leave');
          for (const one of requests) await end(one, 'finish');
          await line.clock.advance(0);
          expect(line.clock.pending()).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });
});
