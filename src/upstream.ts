import type { Config } from './config.ts';

/** Where the models are. */
export interface Upstream {
  readonly urls: readonly string[];
  /** True where the project's own simulator stands in for Ollama. */
  readonly simulated: boolean;
  /** Requests for one model that each of them gets from this replica at a time. Infinity: as many as there are. */
  readonly parallel: number;
  close(): Promise<void>;
}

/**
 * The configured Ollama servers. Where none is configured and none answers at the usual place, a simulator in this
 * process, so that the first five minutes need nothing else; never in production, where a missing Ollama must be seen.
 */
export async function findUpstream(config: Config): Promise<Upstream> {
  const { ollamaUrls: urls, replicas } = config;
  // Rounded up: better that a few requests wait at a server than that it waits for requests.
  const parallel = Math.ceil(config.parallel / replicas) || Number.POSITIVE_INFINITY;
  const real = { urls, simulated: false, parallel, close: async () => undefined };
  if (config.ollamaUrlsGiven || config.production) return real;
  for (const url of urls) if (await answers(url)) return real;
  const { startSimulator } = await import('../simulator/server.ts');
  // Nobody else's, so there is nothing to share.
  const options = { ...LIKE_A_SMALL_MODEL, parallel: config.parallel || LIKE_A_SMALL_MODEL.parallel };
  const simulator = await startSimulator(options);
  return {
    urls: [simulator.url],
    simulated: true,
    parallel: options.parallel,
    close: () => simulator.close(),
  };
}

/** Slow enough to see a model load and tokens stream, quick enough not to bore. */
const LIKE_A_SMALL_MODEL = { loadMs: 1000, paceMs: 20, parallel: 4 };

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/api/version`, { signal: AbortSignal.timeout(1000) });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}
