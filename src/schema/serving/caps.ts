import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../core/ports.ts';

export type Cap = ReturnType<typeof createCap>;

/** How many of something each holder has, up to a maximum. */
export function createCap(maximum: number) {
  const held = new Map<string, number>();
  return {
    /** @returns whether there were so many left; they are to be given back once. */
    take(holder: string, amount = 1): boolean {
      const count = (held.get(holder) ?? 0) + amount;
      if (count > maximum) return false;
      held.set(holder, count);
      return true;
    },
    give(holder: string, amount = 1): void {
      const count = (held.get(holder) ?? 0) - amount;
      if (count > 0) held.set(holder, count);
      else held.delete(holder);
    },
  };
}

/** A bucket that fills up continuously. @returns a function that takes one, and says whether there was one. */
export function createAllowance(perSecond: number, burst: number, clock: Clock): () => boolean {
  let left = burst;
  let at = clock.now();
  return () => {
    const now = clock.now();
    left = Math.min(burst, left + ((now - at) / 1000) * perSecond);
    at = now;
    if (left < 1) return false;
    left--;
    return true;
  };
}

/**
 * Where a connection comes from. Each trusted proxy has added the address it saw at the end of `X-Forwarded-For`;
 * whatever stands before those may be made up by the client.
 */
export function addressOf({ headers, socket }: IncomingMessage, trustedProxies: number): string {
  const direct = socket.remoteAddress ?? '';
  if (trustedProxies === 0) return direct;
  const header = headers['x-forwarded-for'];
  const seen = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',');
  return seen.at(-trustedProxies)?.trim() || direct;
}
