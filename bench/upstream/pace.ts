/** Many streams at one pace, each with a place of its own within the period, so that they come evenly and not in waves. */
export interface Pace {
  /** Calls `act` once a period from now on. @returns the function that ends it. */
  join(act: () => void): () => void;
  /** Nothing is called any more. */
  end(): void;
}

export function createPace(periodMs: number): Pace {
  const places = Array.from({ length: periodMs }, () => new Set<() => void>());
  let last = Math.floor(performance.now());
  let joined = 0;

  // A millisecond that the machine was too busy for is made up for, so that the pace holds.
  const tick = () => {
    const now = Math.floor(performance.now());
    for (let ms = Math.max(last + 1, now - periodMs + 1); ms <= now; ms++) {
      for (const act of places[ms % periodMs] ?? []) act();
    }
    last = now;
  };
  const ticking = setInterval(tick, 1);

  return {
    join(act) {
      const place = places[Math.floor(((joined++ * GOLDEN) % 1) * periodMs)];
      place?.add(act);
      return () => place?.delete(act);
    },
    end: () => clearInterval(ticking),
  };
}

/** Multiples of it fill a period evenly, however many there are. */
const GOLDEN = 0.618_033_988_749_895;
