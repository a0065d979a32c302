/** Where a request to a model is. It is in one place at a time. */
export type Phase = 'queued' | 'loading' | 'inFlight';

export interface Stats {
  /** Holding one of a model's slots. */
  readonly inFlight: number;
  /** Waiting for a slot, or behind another load. */
  readonly queued: number;
  /** Having its model loaded; never more than one. */
  readonly loading: number;
  /** Answered to the end, errors included. */
  readonly served: number;
  /** Their connection closed before the end, and no script did that. */
  readonly aborted: number;
  /** Requests to chat, generate and embed, in whatever state. */
  readonly requests: number;
}

/** Counts, and wakes whoever waits for a count. */
export class Counters {
  readonly #counts = { inFlight: 0, queued: 0, loading: 0, served: 0, aborted: 0, requests: 0 };
  readonly #watchers = new Set<() => void>();

  add(name: keyof Stats, amount: 1 | -1): void {
    this.#counts[name] += amount;
    for (const watcher of this.#watchers) watcher();
  }

  /** A request moves from one phase to another; `undefined` is outside. */
  move(from: Phase | undefined, to: Phase | undefined): void {
    if (from === to) return;
    if (from !== undefined) this.#counts[from]--;
    if (to !== undefined) this.#counts[to]++;
    for (const watcher of this.#watchers) watcher();
  }

  read(): Stats {
    return { ...this.#counts };
  }

  until(predicate: (stats: Stats) => boolean): Promise<void> {
    if (predicate(this.read())) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const watcher = () => {
        try {
          if (!predicate(this.read())) return;
          resolve();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
        this.#watchers.delete(watcher);
      };
      this.#watchers.add(watcher);
    });
  }
}
