/** Builds the image, brings the compose file up, breaks its parts one after the other, and tears it down: see `--help`. */
import { randomBytes } from 'node:crypto';
import { parseArgs, styleText } from 'node:util';
import { CommandError, runProgram, UsageError } from '../src/cli/program.ts';
import { ENGINES, type Engine, type EngineName, findEngine } from './containers/engine.ts';
import { createScenario, SERVICES } from './containers/scenario.ts';

const HELP = `Usage: npm run test:containers -- [options]

Builds the image, brings docker-compose.yml up in production, with a simulator for models, runs the readiness check
against it, kills a replica, stops a replica, PostgreSQL and Redis in turn and starts them again, and removes everything.
It takes a few minutes, and needs Docker with Compose, or Podman with podman-compose.

  --engine NAME          ${ENGINES.join(' or ')}; the first that works by default
  --build-option OPTION  for the engine's build command; may be repeated, e.g. --build-option=--isolation=chroot
  --keep                 leaves everything up at the end

HTTP_PORT, POSTGRES_PORT and REDIS_PORT are the ports it takes on this machine: 3000, 15432 and 16379 by default.

Exits with 0 when all of it held, 1 when something did not, 2 for a command line that is wrong.`;

const PROJECT = 'llm-gateway-test';
const IMAGE = 'localhost/llm-gateway:test';
const FILES = ['docker-compose.yml', 'tests/containers/compose.simulator.yml'];
const SHOWN_LOG_LINES = 8;
const SHOWN_CHARACTERS = 200;

async function main(args: readonly string[]): Promise<string> {
  const options = readOptions(args);
  if (options.help) return HELP;
  const begun = Date.now();
  const secret = () => randomBytes(32).toString('hex');
  const engine = await findEngine({
    ...(options.engine !== undefined && { name: options.engine }),
    project: PROJECT,
    files: FILES,
    env: {
      GATEWAY_IMAGE: IMAGE,
      NODE_ENV: 'production',
      SEED_DEMO_KEYS: 'false',
      POSTGRES_PASSWORD: secret(),
      REDIS_PASSWORD: secret(),
      GATEWAY_ADMIN_KEY: `llmgw_${secret()}`,
      OLLAMA_URLS: 'http://simulator:11434',
      // Nothing of this machine is asked, and not every Podman knows its address.
      HOST_GATEWAY: '127.0.0.1',
    },
    say: (line) => console.log(styleText('dim', `   ${line}`)),
  });
  console.log(`${engine.title}\n`);
  const port = process.env['HTTP_PORT'] ?? '3000';
  const scenario = createScenario({
    engine,
    url: `http://127.0.0.1:${port}`,
    image: IMAGE,
    buildOptions: options.build,
  });
  let failed: unknown;
  try {
    for (const [index, [title, act]] of Object.entries(scenario).entries())
      await runStep(index + 1, title, act);
  } catch (error) {
    failed = error;
    console.log(
      `${styleText('red', '   FAILED')} ${error instanceof Error ? error.message : String(error)}\n`,
    );
    await showLogs(engine);
  }
  if (!options.keep) await runStep(Object.keys(scenario).length + 1, 'Tear down', tearDown(engine));
  const took = `${Math.round((Date.now() - begun) / 1000)} s`;
  if (failed !== undefined) throw new CommandError(`It does not hold, found after ${took}.`);
  return `All of it held, in ${took}.`;
}

type Step = (passed: (what: string) => void) => Promise<void>;

async function runStep(number: number, title: string, act: Step): Promise<void> {
  const begun = Date.now();
  console.log(`${number}. ${title}`);
  await act((what) => {
    const time = styleText('dim', `${((Date.now() - begun) / 1000).toFixed(1)} s`);
    console.log(`${styleText('green', '   ok')} ${what}  ${time}`);
  });
  console.log();
}

const tearDown =
  (engine: Engine): Step =>
  async (passed) => {
    await engine.down();
    const left = await engine.list();
    if (left.length > 0) throw new CommandError(`There is still ${left.join(', ')}.`);
    passed('no container and no volume is left');
  };

async function showLogs(engine: Engine): Promise<void> {
  for (const service of SERVICES) {
    const log = await engine.logs(service, SHOWN_LOG_LINES).catch((error: Error) => error.message);
    const lines = log.trimEnd().split('\n');
    console.log([`---- ${service}`, ...lines.map((line) => line.slice(0, SHOWN_CHARACTERS)), ''].join('\n'));
  }
}

function readOptions(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        engine: { type: 'string' },
        'build-option': { type: 'string', multiple: true, default: [] },
        keep: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false, short: 'h' },
      },
    });
    const engine = parseEngine(values.engine);
    return { engine, build: values['build-option'], keep: values.keep, help: values.help };
  } catch (error) {
    throw new UsageError(`${(error as Error).message} See npm run test:containers -- --help.`);
  }
}

function parseEngine(text: string | undefined): EngineName | undefined {
  const engine = ENGINES.find((name) => name === text);
  if (text !== undefined && engine === undefined)
    throw new UsageError(`--engine is ${ENGINES.join(' or ')}.`);
  return engine;
}

if (import.meta.main) await runProgram(main);
