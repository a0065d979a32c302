import { parseArgs } from 'node:util';
import { UsageError } from '../../src/cli/program.ts';

export const HELP = `Usage: npm run soak -- [options]

Starts nginx, three replicas, PostgreSQL, Redis and two simulated Ollamas, streams through them without a pause, and
prints one table. Every answer is checked to the last token, every answered request is looked up in the ledger.

  --minutes NUMBER         how long; 10 by default
  --clients NUMBER         how many answers are streamed at any time; 300 by default
  --tokens-per-second NUMBER  how fast the simulated models speak; 20 by default
  --faults                 every 15 seconds, in turn and for 5 seconds: Redis stopped, a replica killed, PostgreSQL
                           stopped, an Ollama stopped, Redis frozen, PostgreSQL frozen

  --url URL                streams through this running deployment instead. What only its own machine can see, such as
                           memory and the ledger, is left out
  --key KEY                an API key for it; better in GATEWAY_KEY, as command lines are seen by others
  --model MODEL            the model to ask there; llama3.1:8b by default

It fails when a request failed that no fault explains; when an answered request has no row in the ledger; when a lease
or a request under way is left at the end; or when the memory of a replica keeps growing: when, of a process that has
run for three minutes or more, the median of its last quarter is more than a fifth above that of its second quarter.
A replica that was killed explains the failure of what it was at, a stopped Ollama that of the answers it had begun, and
no other fault explains anything.

Exits with 0 when nothing was wrong, 1 when something was, 2 for a command line that is wrong.`;

export interface Options {
  readonly minutes: number;
  readonly clients: number;
  readonly tokensPerSecond: number;
  readonly faults: boolean;
  /** Absent: a stack of its own. */
  readonly deployment?: RunningDeployment;
}

export interface RunningDeployment {
  /** Without a slash at its end. */
  readonly url: string;
  readonly secret: string;
  readonly model: string;
}

/**
 * @returns undefined where help is asked for.
 * @throws UsageError, which never has the key in its message.
 */
export function parseOptions(args: readonly string[], env: NodeJS.ProcessEnv): Options | undefined {
  const values = readValues(args);
  if (values.help) return undefined;
  const { minutes = '10', clients = '300', faults = false, model = 'llama3.1:8b' } = values;
  const options: Options = {
    minutes: parseNumber('minutes', minutes, 10_000),
    clients: parseNumber('clients', clients, 5000),
    tokensPerSecond: parseNumber('tokens-per-second', values['tokens-per-second'] ?? '20', 1000),
    faults,
  };
  if (values.url === undefined) return options;
  if (faults) throw new UsageError('--faults is for a stack of its own: leave out --url.');
  const secret = values.key ?? env['GATEWAY_KEY'];
  if (!secret) throw new UsageError('Give an API key in GATEWAY_KEY, or with --key.');
  return { ...options, deployment: { url: parseUrl(values.url), secret, model } };
}

function readValues(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      strict: true,
      options: {
        minutes: { type: 'string' },
        clients: { type: 'string' },
        'tokens-per-second': { type: 'string' },
        faults: { type: 'boolean' },
        url: { type: 'string' },
        key: { type: 'string' },
        model: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    return values;
  } catch (error) {
    // It quotes what it did not expect, which may be a key that lost its option.
    const message = (error as Error).message.replace(/llmgw_\w+/g, 'llmgw_…');
    throw new UsageError(`${message} See npm run soak -- --help.`);
  }
}

function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw new UsageError(
      '--url is an address such as https://llm.example.org, without credentials or query.',
    );
  }
  return url.href.replace(/\/+$/, '');
}

function parseNumber(name: string, text: string, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= max) return value;
  throw new UsageError(`--${name} is a whole number from 1 to ${max}.`);
}
