import type { Config } from './config.ts';

/** Where the models are. */
export interface Upstream {
  readonly urls: readonly string[];
  /** True where the project's own simulator stands in for Ollama. */
  readonly simulated: boolean;
  close(): Promise<void>;
}

/**
 * The configured Ollama servers. Where none is configured and none answers at the usual place, a simulator in this
 * process, so that the first five minutes need nothing else; never in production, where a missing Ollama must be seen.
 */
export async function findUpstream(config: Config): Promise<Upstream> {
  const real = { urls: config.ollamaUrls, simulated: false, close: async () => undefined };
  if (config.ollamaUrlsGiven || config.production) return real;
  for (const url of config.ollamaUrls) if (await answers(url)) return real;
  const { startSimulator } = await import('../simulator/server.ts');
  const simulator = await startSimulator(LIKE_A_SMALL_MODEL);
  return { urls: [simulator.url], simulated: true, close: () => simulator.close() };
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
