/** Looks after one dependency: is it there, and if not, since when is it back? */
export interface Watch {
  isUp(): boolean;
  /** A call has just failed in a way that says it is away. From here on it counts as down until a probe succeeds. */
  failed(reason: unknown): void;
  /** Probes now, or joins the probe under way. @returns the probe's failure, or undefined. Never rejects. */
  check(): Promise<unknown>;
  close(): void;
}

/** A server that vanishes without a word while nobody uses it is noticed within this time. */
const UP_INTERVAL_MS = 2000;
/** One that comes back is noticed within this time, plus one probe. */
const DOWN_INTERVAL_MS = 250;

/**
 * @param probe one bounded try; rejects while the dependency is away. Never runs twice at once.
 * @param onChange is called at each change between up and down, not at each failure.
 */
export function createWatch(
  probe: () => Promise<void>,
  onChange: (up: boolean, reason: unknown) => void,
): Watch {
  let up = true;
  let closed = false;
  let running: Promise<unknown> | undefined;
  let timer: NodeJS.Timeout | undefined;

  function become(next: boolean, reason?: unknown): void {
    if (up === next || closed) return;
    up = next;
    onChange(up, reason);
  }

  function schedule(): void {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => void check(), up ? UP_INTERVAL_MS : DOWN_INTERVAL_MS);
    // Watching is no reason for a process to stay.
    timer.unref();
  }

  async function run(): Promise<unknown> {
    try {
      await probe();
      become(true);
      return undefined;
    } catch (reason) {
      become(false, reason);
      return reason;
    } finally {
      running = undefined;
      schedule();
    }
  }

  function check(): Promise<unknown> {
    running ??= run();
    return running;
  }

  schedule();
  return {
    isUp: () => up,
    failed(reason) {
      become(false, reason);
      // It may have been one connection only: the probe that tells is not put off.
      void check();
    },
    check,
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
