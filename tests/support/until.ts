const GIVE_UP_MS = 10_000;

/** Resolves when the condition holds, looking after every turn of the event loop. Rejects where it never does. */
export async function until(condition: () => boolean): Promise<void> {
  const giveUp = performance.now() + GIVE_UP_MS;
  while (!condition()) {
    if (performance.now() > giveUp) throw new Error(`it never came true: ${condition}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
