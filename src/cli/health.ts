import { configFromEnvironment } from '../config.ts';

/** Longer than a busy process takes to answer, and shorter than the time-outs of those who run this. */
const TIMEOUT_MS = 4000;

// The health check of containers, which have no curl: exit code 0 where the gateway of this environment answers. It asks
// about nothing behind the gateway, as a restart would mend none of that.
if (import.meta.main) {
  const trouble = await findTrouble();
  if (trouble !== undefined) {
    process.stderr.write(`${trouble}\n`);
    process.exitCode = 1;
  }
}

async function findTrouble(): Promise<string | undefined> {
  const { host, port } = configFromEnvironment();
  const url = `http://${addressOf(host)}:${port}/health`;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok ? undefined : `${url} answers ${response.status}.`;
  } catch (error) {
    return `${url} does not answer: ${error instanceof Error ? (error.cause ?? error) : error}`;
  }
}

/** Where a server that listens on `host` can be reached from its own machine. */
function addressOf(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
