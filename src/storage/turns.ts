/**
 * Runs work as it is given, but no more than so much of it at once; the rest waits, first come, first served.
 * @returns what runs a piece of work in its turn, and settles as that does.
 */
export function createTurns(atOnce: number): <Result>(work: () => Promise<Result>) => Promise<Result> {
  const waiting: (() => void)[] = [];
  let free = atOnce;
  return async (work) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      // A turn is handed on, so that nobody who comes now can take it from whoever waits.
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}
