import type { Clock } from '../core/ports.ts';
import type { Cancellable } from '../core/stream.ts';
import type { ChatEvent, Content, Reasoning } from '../domain/event.ts';

type Delta = Content | Reasoning;
type Result = IteratorResult<readonly ChatEvent[]>;

/**
 * Joins deltas, for clients that would rather get fewer and larger ones. The first delta of each kind and choice goes
 * out at once; later ones wait at most `windowMs` for others of their kind and choice. Whatever is not a delta sends
 * ahead what waits, so that the order stays. The stream is asked for one batch at a time.
 */
export function coalesce(
  source: Cancellable<ChatEvent>,
  windowMs: number,
  clock: Clock,
): Cancellable<ChatEvent> {
  let waiting: PromiseWithResolvers<Result> | undefined;
  let isPulling = false;
  /** How the source has ended. */
  let ending: (() => Promise<Result>) | undefined;

  /** Gives whoever waits what there is, and otherwise goes on reading. */
  const serve = (): void => {
    if (!waiting) return;
    if (ending) buffer.release();
    const batch = buffer.take();
    if (batch.length > 0) waiting.resolve({ done: false, value: batch });
    else if (ending) waiting.resolve(ending());
    else {
      pull();
      return;
    }
    waiting = undefined;
  };
  const buffer = createBuffer(windowMs, clock, serve);

  const pull = (): void => {
    if (isPulling) return;
    isPulling = true;
    const arrive = (result: Result | (() => Promise<Result>)): void => {
      isPulling = false;
      // What was under way when the stream was left is for nobody.
      if (ending) return;
      if (typeof result === 'function') ending = result;
      else if (result.done) ending = () => Promise.resolve(result);
      else buffer.add(result.value);
      serve();
    };
    source.next().then(arrive, (thrown: unknown) => arrive(() => Promise.reject(thrown)));
  };

  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      const asked = Promise.withResolvers<Result>();
      waiting = asked;
      serve();
      return asked.promise;
    },
    async return() {
      buffer.release();
      buffer.take();
      ending = () => Promise.resolve({ done: true, value: undefined });
      serve();
      await source.return?.();
      return { done: true, value: undefined };
    },
  };
}

/** What may go out and, behind it, what waits to be joined. */
function createBuffer(windowMs: number, clock: Clock, onDue: () => void) {
  let ready: ChatEvent[] = [];
  let held: Delta[] = [];
  let cancelTimer: (() => void) | undefined;
  const seen = new Set<string>();

  const release = (): void => {
    cancelTimer?.();
    cancelTimer = undefined;
    ready.push(...held);
    held = [];
  };

  const isFirst = ({ type, choice }: Delta): boolean => {
    const size = seen.size;
    return seen.add(`${type} ${choice}`).size > size;
  };

  const hold = (delta: Delta): void => {
    // Only the latest of its choice grows: text and thoughts that take turns keep their order.
    const index = held.findLastIndex(({ choice }) => choice === delta.choice);
    const latest = held[index];
    if (latest?.type === delta.type) held[index] = join(latest, delta);
    else held.push(delta);
  };

  return {
    add(batch: readonly ChatEvent[]): void {
      for (const event of batch) {
        if (isDelta(event) && !isFirst(event)) hold(event);
        else {
          release();
          ready.push(event);
        }
      }
      if (held.length === 0) return;
      cancelTimer ??= clock.after(windowMs, () => {
        release();
        onDue();
      });
    },
    release,
    take(): readonly ChatEvent[] {
      const taken = ready;
      ready = [];
      return taken;
    },
  };
}

function isDelta(event: ChatEvent): event is Delta {
  return event.type === 'content' || event.type === 'reasoning';
}

function join(a: Delta, b: Delta): Delta {
  const joined = { ...a, text: a.text + b.text };
  if (joined.type !== 'content' || b.type !== 'content' || !b.logprobs) return joined;
  return { ...joined, logprobs: [...(joined.logprobs ?? []), ...b.logprobs] };
}
