/** Long past anything that is still working, also on a busy machine. */
const GIVE_UP_MS = 20_000;
const LOOK_EVERY_MS = 25;

/**
 * Looks until there is something to see. For what happens in other processes, which tell nobody.
 * @param look undefined or false: not yet.
 * @param awaited completes "gave up waiting for …".
 */
export async function eventually<T>(
  awaited: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  giveUpMs = GIVE_UP_MS,
): Promise<T> {
  const giveUpAt = Date.now() + giveUpMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > giveUpAt) throw new Error(`gave up waiting for ${awaited}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
