import type { Asker } from '../core/ports.ts';
import { GatewayError } from '../domain/error.ts';

/**
 * Runs work as it is given, but no more than so much of it at once; the rest waits. Keys take turns, so that whoever asks
 * for a hundred things does not keep others waiting for all of them; those of one key are served as they came.
 * @param mostWaiting of one key.
 * @returns what runs a piece of work in its turn, and settles as that does, or rejects with a GatewayError
 * `storage_unavailable` where too many wait, or with the signal's reason.
 */
export function createTurns(
  atOnce: number,
  mostWaiting: number,
): <Result>(asker: Asker, work: () => Promise<Result>) => Promise<Result> {
  /** What begins the work that waits. By key, the one whose turn it is first. */
  const lines = new Map<string, (() => void)[]>();
  let free = atOnce;

  const quit = (keyId: string, begin: () => void) => {
    const line = lines.get(keyId)?.filter((other) => other !== begin) ?? [];
    if (line.length > 0) lines.set(keyId, line);
    else lines.delete(keyId);
  };
  const wait = ({ keyId, signal }: Asker) =>
    new Promise<void>((resolve, reject) => {
      const line = lines.get(keyId) ?? [];
      if (line.length >= mostWaiting) throw tooMany();
      const leave = () => {
        quit(keyId, begin);
        reject(signal.reason);
      };
      const begin = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      signal.addEventListener('abort', leave, { once: true });
      lines.set(keyId, [...line, begin]);
    });
  /** A turn is handed on, so that nobody who comes now can take it from whoever waits. */
  const handOn = () => {
    const [first] = lines;
    if (!first) {
      free++;
      return;
    }
    const [keyId, [next, ...others]] = first;
    lines.delete(keyId);
    if (others.length > 0) lines.set(keyId, others);
    next?.();
  };

  return async (asker, work) => {
    if (free > 0) free--;
    else await wait(asker);
    try {
      if (asker.signal.aborted) throw asker.signal.reason;
      return await work();
    } finally {
      handOn();
    }
  };
}

function tooMany(): GatewayError {
  return new GatewayError('storage_unavailable', 'Too many questions of this API key wait already.', {
    retryAfterMs: 5000,
  });
}
