/**
 * Lets its callers go on one by one, each in a turn of the event loop of its own, in the order in which they come. What
 * several do at the same time then keeps everybody else waiting for the longest of it, and not for all of it.
 */
export function createTurns(): () => Promise<void> {
  let latest: Promise<void> = Promise.resolve();
  return () => {
    latest = latest.then(() => new Promise((resolve) => setImmediate(resolve)));
    return latest;
  };
}
