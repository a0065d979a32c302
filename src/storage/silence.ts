import { Bag } from '../domain/bag.ts';

/**
 * Runs one command and gives up on it when the server has been silent for too long.
 * @throws Error what the command threw, or that there was no answer. It may have been carried out all the same.
 */
export type Ask = <T>(command: () => Promise<T>) => Promise<T>;

/** Silence is counted in slices. One that this process was too busy to listen in counts once, however long it took. */
const SLICES = 4;

/**
 * Gives up on a connection's commands when nothing at all has been answered for `limitMs` while some were waiting. A
 * limit on each command instead would take a burst on a busy machine for an outage.
 */
export function createSilenceGuard(limitMs: number): Ask {
  const waiting = new Bag<(reason: Error) => void>();
  let silentSlices = 0;
  let listening = false;

  const listen = () => {
    listening = true;
    // Timers run before the sockets are read, immediates after: what has arrived by now is heard before it is judged.
    setTimeout(() => setImmediate(judge), limitMs / SLICES);
  };
  const judge = () => {
    listening = false;
    if (waiting.size === 0) return;
    silentSlices++;
    if (silentSlices < SLICES) return listen();
    for (const giveUp of waiting) giveUp(new Error(`no answer for ${limitMs} ms`));
    waiting.clear();
  };

  return (command) =>
    new Promise((resolve, reject) => {
      if (waiting.size === 0) silentSlices = 0;
      waiting.add(reject);
      if (!listening) listen();
      const hear = () => {
        silentSlices = 0;
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
