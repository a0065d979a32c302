/**
 * Runs one command and gives up on it when the server has been silent for too long.
 * @throws Error what the command threw, or that there was no answer. It may have been carried out all the same.
 */
export type Ask = <T>(command: () => Promise<T>) => Promise<T>;

/**
 * Gives up on a connection's commands when nothing at all has been answered for `limitMs` while some were waiting. A
 * limit on each command instead would take a burst on a busy machine for an outage. The timer is one for all commands,
 * and before it is believed, answers that have arrived and were not read yet are: the silence may have been this
 * process's own.
 */
export function createSilenceGuard(limitMs: number): Ask {
  const waiting = new Set<(reason: Error) => void>();
  let heardAt = 0;
  let listening = false;

  const listen = (ms: number) => {
    // Timers run before the sockets are read, immediates after.
    setTimeout(() => setImmediate(judge), ms);
  };
  const judge = () => {
    listening = waiting.size > 0;
    if (!listening) return;
    const silentMs = performance.now() - heardAt;
    if (silentMs < limitMs) return listen(limitMs - silentMs);
    listening = false;
    for (const giveUp of waiting) giveUp(new Error(`no answer for ${limitMs} ms`));
    waiting.clear();
  };

  return (command) =>
    new Promise((resolve, reject) => {
      if (waiting.size === 0) heardAt = performance.now();
      waiting.add(reject);
      if (!listening) {
        listening = true;
        listen(limitMs);
      }
      const hear = () => {
        heardAt = performance.now();
        waiting.delete(reject);
      };
      command().then(
        (answer) => {
          hear();
          resolve(answer);
        },
        (error: unknown) => {
          hear();
          reject(error);
        },
      );
    });
}
