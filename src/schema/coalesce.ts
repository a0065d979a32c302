import type { Clock } from '../core/ports.ts';
import type { Cancellable } from '../core/stream.ts';
import type { ChatEvent, Content, Numbered, Reasoning } from '../domain/event.ts';

type Event = Numbered<ChatEvent>;
type Delta = Numbered<Content | Reasoning>;

/**
 * Joins deltas, for clients that would rather get fewer and larger ones. The first delta of each kind and choice goes
 * out at once; later ones wait at most `windowMs` for others of their kind and choice. Whatever is not a delta sends
 * ahead what waits, so that the order stays.
 *
 * A joined delta has the sequence of its last part: sequences still grow, with gaps.
 */
export function coalesce(source: Cancellable<Event>, windowMs: number, clock: Clock): Cancellable<Event> {
  const buffer = createBuffer();
  /** What may go out as soon as somebody asks. */
  let ready: Event[] = [];
  let waiting: PromiseWithResolvers<IteratorResult<readonly Event[]>> | undefined;
  let isPulling = false;
  let isDue = false;
  let cancelTimer: (() => void) | undefined;
  /** How the source has ended. */
  let ending: (() => Promise<IteratorResult<readonly Event[]>>) | undefined;

  const release = (): void => {
    cancelTimer?.();
    cancelTimer = undefined;
    isDue = false;
    ready.push(...buffer.flush());
  };

  /** Gives whoever waits what there is, and otherwise goes on reading. */
  const serve = (): void => {
    if (!waiting) return;
    if (isDue || ending) release();
    if (ready.length > 0) {
      waiting.resolve({ done: false, value: ready });
      ready = [];
    } else if (ending) waiting.resolve(ending());
    else {
      pull();
      return;
    }
    waiting = undefined;
  };

  const receive = (batch: readonly Event[]): void => {
    // It was under way when the stream was left.
    if (ending) return;
    for (const event of batch) {
      if (isDelta(event) && buffer.add(event)) continue;
      release();
      ready.push(event);
    }
    if (!buffer.isEmpty()) {
      cancelTimer ??= clock.after(windowMs, () => {
        isDue = true;
        serve();
      });
    }
    serve();
  };

  const pull = (): void => {
    if (isPulling) return;
    isPulling = true;
    source.next().then(
      (result) => {
        isPulling = false;
        if (!result.done) return receive(result.value);
        ending = () => Promise.resolve(result);
        serve();
      },
      (thrown: unknown) => {
        isPulling = false;
        ending = () => Promise.reject(thrown);
        serve();
      },
    );
  };

  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      const asked = Promise.withResolvers<IteratorResult<readonly Event[]>>();
      waiting = asked;
      serve();
      return asked.promise;
    },
    async return() {
      release();
      ready = [];
      ending = () => Promise.resolve({ done: true, value: undefined });
      serve();
      await source.return?.();
      return { done: true, value: undefined };
    },
  };
}

function isDelta(event: Event): event is Delta {
  return event.type === 'content' || event.type === 'reasoning';
}

/** What waits to be joined. */
function createBuffer() {
  let held: Delta[] = [];
  const seen = new Set<string>();
  return {
    isEmpty: () => held.length === 0,
    /** @returns false for the first delta of its kind and choice, which is not to wait. */
    add(delta: Delta): boolean {
      const kind = `${delta.type} ${delta.choice}`;
      if (!seen.has(kind)) {
        seen.add(kind);
        return false;
      }
      // Only with the latest of its choice: text and thoughts that take turns must keep their order.
      const index = held.findLastIndex(({ choice }) => choice === delta.choice);
      const latest = held[index];
      if (latest?.type === delta.type) held[index] = join(latest, delta);
      else held.push(delta);
      return true;
    },
    flush(): readonly Delta[] {
      const flushed = held.sort((a, b) => a.sequence - b.sequence);
      held = [];
      return flushed;
    },
  };
}

function join(a: Delta, b: Delta): Delta {
  const text = a.text + b.text;
  if (a.type !== 'content' || b.type !== 'content' || !b.logprobs) return { ...a, text, sequence: b.sequence };
  return { ...a, text, sequence: b.sequence, logprobs: [...(a.logprobs ?? []), ...b.logprobs] };
}
