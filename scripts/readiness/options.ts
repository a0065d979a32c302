import { parseArgs } from 'node:util';
import { UsageError } from '../../src/cli/program.ts';

export const HELP = `Usage: npm run readiness -- --url URL [options]

Asks a running deployment what its users would ask, eleven checks in all, and says what it saw.

  --url URL                where the deployment is, e.g. https://llm.example.org
  --key KEY                an API key; better in GATEWAY_KEY, as command lines are seen by others. It is never printed.
                           It needs the scopes chat, models and usage:read, and to see that replicas share their
                           limits, a limit on concurrent requests or on tokens
  --model MODEL            the model to ask; the first that can chat by default
  --replicas NUMBER        how many replicas there have to be. Without it, what takes several is skipped where only one
                           answers
  --origin ORIGIN          an origin whose pages may call, where CORS_ORIGINS lists some
  --timeout SECONDS        the longest wait for an answer; 10 by default
  --answer-timeout SECONDS the longest wait for a model, which may have to load; 180 by default
  --out FOLDER             where to write test-results-<time>.json; the current folder by default

A certificate of an authority of your own is trusted when NODE_EXTRA_CA_CERTS names the authority's file.

Exits with 0 when no check failed, 1 when one did, 2 for a command line that is wrong.`;

/** What to check, and how patiently. */
export interface Options {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string;
  readonly model?: string;
  /** Absent: as many as there happen to be. */
  readonly replicas?: number;
  readonly origin?: string;
  readonly timeoutMs: number;
  readonly answerTimeoutMs: number;
  readonly folder: string;
}

/**
 * @returns undefined where help is asked for.
 * @throws UsageError, which never has the key in its message.
 */
export function parseOptions(args: readonly string[], env: NodeJS.ProcessEnv): Options | undefined {
  const values = readValues(args);
  if (values.help) return undefined;
  const { model, replicas, origin, timeout = '10', out = '.' } = values;
  return {
    url: parseUrl(values.url),
    key: parseKey(values.key ?? env['GATEWAY_KEY']),
    ...(model !== undefined && { model }),
    ...(replicas !== undefined && { replicas: parseNumber('replicas', replicas, 1000) }),
    ...(origin !== undefined && { origin: parseOrigin(origin) }),
    timeoutMs: parseNumber('timeout', timeout, 3600) * 1000,
    answerTimeoutMs: parseNumber('answer-timeout', values['answer-timeout'] ?? '180', 3600) * 1000,
    folder: out,
  };
}

function readValues(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      strict: true,
      options: {
        url: { type: 'string' },
        key: { type: 'string' },
        model: { type: 'string' },
        replicas: { type: 'string' },
        origin: { type: 'string' },
        timeout: { type: 'string' },
        'answer-timeout': { type: 'string' },
        out: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    return values;
  } catch (error) {
    // It quotes what it did not expect, which may be a key that lost its option.
    const message = (error as Error).message.replace(/llmgw_\w+/g, 'llmgw_…');
    throw new UsageError(`${message} See npm run readiness -- --help.`);
  }
}

function parseUrl(text: string | undefined): string {
  if (!text) throw new UsageError('Give the address of the deployment with --url.');
  const url = URL.parse(text);
  const isPlain = url && !url.username && !url.password && !url.search && !url.hash;
  if (!isPlain || !/^https?:$/.test(url.protocol)) {
    throw new UsageError(
      '--url is an address such as https://llm.example.org, without credentials or query.',
    );
  }
  return url.href.replace(/\/+$/, '');
}

function parseKey(text: string | undefined): string {
  if (!text) throw new UsageError('Give an API key in GATEWAY_KEY, or with --key.');
  // Beyond this it could not be sent, and the error that says so would quote it.
  if (!/^[\x21-\x7e]+$/.test(text)) throw new UsageError('The API key (not shown) is none.');
  return text;
}

function parseOrigin(text: string): string {
  if (URL.parse(text)?.origin === text) return text;
  throw new UsageError('--origin is an origin such as https://chat.example.org, without a path.');
}

function parseNumber(name: string, text: string, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= max) return value;
  throw new UsageError(`--${name} is a whole number from 1 to ${max}.`);
}
