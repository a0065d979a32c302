import type { Clock } from '../core/ports.ts';

const MOST = 200;
/** Before a batch that is not full, so that one write takes what comes meanwhile: few large ones cost least. */
const GATHER_MS = 200;
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5000;

/** Things on their way to a store, in the memory of this process: in batches, in order, one batch at a time. */
export interface Batches<T> {
  /** @returns whether there is room for it. What is under way takes room, too. */
  add(item: T): boolean;
  /** Those under way included. */
  waiting(): number;
  /** Stores what waits by now. @returns false as soon as a batch is not taken, which is then tried again as ever. */
  storeAll(): Promise<boolean>;
  /** Stores nothing any more. @returns how many are given up. */
  close(): number;
}

interface BatchesOptions<T> {
  /** Takes a batch, in bounded time. Rejects where nothing of it may be considered kept; it is then tried again. */
  readonly store: (items: readonly T[]) => Promise<void>;
  readonly clock: Clock;
  readonly capacity: number;
}

export function createBatches<T>({ store, clock, capacity }: BatchesOptions<T>): Batches<T> {
  let waiting: T[] = [];
  let added = 0;
  let stored = 0;
  let retryMs = RETRY_MIN_MS;
  let closed = false;
  let delivery: Promise<boolean> | undefined;
  let cancel: (() => void) | undefined;

  const schedule = (ms: number) => {
    cancel ??= clock.after(ms, () => {
      cancel = undefined;
      void deliver();
    });
  };

  const unschedule = () => {
    cancel?.();
    cancel = undefined;
  };

  /** At least one batch, and then all that are full. @returns whether the store took them. */
  const deliver = (): Promise<boolean> => {
    delivery ??= deliverBatches().then((taken) => {
      delivery = undefined;
      if (waiting.length > 0 && !closed) schedule(taken ? GATHER_MS : retryMs);
      return taken;
    });
    return delivery;
  };
  const deliverBatches = async (): Promise<boolean> => {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, MOST);
      try {
        await store(batch);
      } catch {
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
        return false;
      }
      retryMs = RETRY_MIN_MS;
      waiting = waiting.slice(batch.length);
      stored += batch.length;
      if (waiting.length < MOST) break;
    }
    return true;
  };

  return {
    add(item) {
      if (waiting.length >= capacity) return false;
      waiting.push(item);
      added++;
      if (delivery || closed) return true;
      if (waiting.length < MOST || retryMs > RETRY_MIN_MS) schedule(GATHER_MS);
      else {
        unschedule();
        void deliver();
      }
      return true;
    },
    waiting: () => waiting.length,
    async storeAll() {
      for (const target = added; stored < target && !closed; ) if (!(await deliver())) return false;
      return true;
    },
    close() {
      closed = true;
      unschedule();
      const givenUp = waiting.length;
      waiting = [];
      return givenUp;
    },
  };
}
