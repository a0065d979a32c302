import { parseArgs } from 'node:util';
import { startSimulator } from './server.ts';

const USAGE = `Usage: npm run simulator -- [options]

  --port NUMBER      where to listen (11434)
  --host ADDRESS     on which address (127.0.0.1)
  --models A,B       which models to have (four that chat and one that embeds)
  --pace MS          time between two tokens (20)
  --load MS          how long a model takes to load (1500)
  --parallel NUMBER  requests that one model works on at a time (1)
  --help             this text
`;

function parseNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new TypeError(`--${name} takes a whole number, and ${JSON.stringify(text)} is none`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '11434' },
      host: { type: 'string', default: '127.0.0.1' },
      models: { type: 'string' },
      pace: { type: 'string', default: '20' },
      load: { type: 'string', default: '1500' },
      parallel: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const simulator = await startSimulator({
    port: parseNumber('port', values.port),
    host: values.host,
    paceMs: parseNumber('pace', values.pace),
    loadMs: parseNumber('load', values.load),
    parallel: Math.max(1, parseNumber('parallel', values.parallel)),
    ...(values.models !== undefined && {
      models: values.models.split(',').map((name) => ({ name: name.trim() })),
    }),
  });
  process.stdout.write(
    `The Ollama simulator listens on ${simulator.url}. It speaks Ollama's API and runs no model: answers are made up ` +
      'and say so. A message may tell it what to do, such as [[sim:{"tokens":50,"paceMs":100}]]; the knobs are in ' +
      'simulator/script.ts. Counts are at /simulator/stats. Ctrl-C ends it.\n',
  );
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void simulator.close());
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
