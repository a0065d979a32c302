/** Docker or Podman, with what runs compose files for it: builds, starts, stops and looks into the services of a project. */
import { execFile } from 'node:child_process';
import { CommandError } from '../../src/cli/program.ts';

export interface Engine {
  /** What was found, with versions. */
  readonly title: string;
  build(image: string, options: readonly string[]): Promise<void>;
  /** Starts services with images that are there. */
  up(services: readonly string[]): Promise<void>;
  /** Removes containers, networks and volumes of the project. */
  down(): Promise<void>;
  stop(service: string): Promise<void>;
  start(service: string): Promise<void>;
  /** Runs a command in a service's container. @returns what it wrote to standard output. */
  exec(service: string, ...command: readonly string[]): Promise<string>;
  /** @param format a Go template over what the engine knows of the container, e.g. `{{.State.ExitCode}}`. */
  inspect(service: string, format: string): Promise<string>;
  inspectImage(image: string, format: string): Promise<string>;
  /** The last lines of what a service wrote, to standard output and then to standard error. */
  logs(service: string, lines: number): Promise<string>;
  /** Containers and volumes that there are of the project. */
  list(): Promise<readonly string[]>;
}

export interface EngineOptions {
  /** Absent: the first that works. */
  readonly name?: EngineName;
  readonly project: string;
  readonly files: readonly string[];
  /** Variables of the compose files. */
  readonly env: Readonly<Record<string, string>>;
  /** Gets each command before it runs. */
  readonly say: (line: string) => void;
}

export const ENGINES = ['docker', 'podman'] as const;
export type EngineName = (typeof ENGINES)[number];

const COMPOSE: Readonly<Record<EngineName, readonly string[]>> = {
  docker: ['docker', 'compose'],
  podman: ['podman-compose'],
};
/** Building, and what has to be fetched for it, takes the longest. */
const PATIENCE_MS = 20 * 60_000;
/** More than any `stop_grace_period` of the compose file, which not everything that runs it hands on. */
const STOP_SECONDS = 60;
const SHOWN_CHARACTERS = 2000;

/** @throws CommandError where there is no engine that works. */
export async function findEngine(options: EngineOptions): Promise<Engine> {
  const reasons: string[] = [];
  for (const name of options.name ? [options.name] : ENGINES) {
    try {
      return await openEngine(name, options);
    } catch (error) {
      reasons.push((error as Error).message.trimEnd());
    }
  }
  throw new CommandError(
    `There is neither Docker with Compose nor Podman with podman-compose here.\n${reasons.join('\n')}`,
  );
}

async function openEngine(name: EngineName, { project, files, env, say }: EngineOptions): Promise<Engine> {
  const run = async (...command: readonly string[]) => (await runCommand(command, env)).stdout;
  const runAloud = (...command: readonly string[]) => {
    say(`$ ${command.join(' ')}`);
    return run(...command);
  };
  const compose = [...COMPOSE[name], '--project-name', project, ...files.flatMap((file) => ['--file', file])];
  const label = `label=com.docker.compose.project=${project}`;
  await run(name, 'info');
  const [engineVersion, composeVersion] = await Promise.all([
    run(name, '--version'),
    run(...COMPOSE[name], 'version'),
  ]);

  const find = async (service: string) => {
    const filters = ['--filter', label, '--filter', `label=com.docker.compose.service=${service}`];
    const [id] = lines(await run(name, 'ps', '--all', '--quiet', ...filters));
    if (id === undefined) throw new CommandError(`${service} has no container.`);
    return id;
  };
  const remains = async (kind: 'container' | 'volume' | 'network') =>
    lines(
      await run(name, kind, 'ls', '--quiet', '--filter', label, ...(kind === 'container' ? ['--all'] : [])),
    );
  return {
    title: [
      ...lines(engineVersion).slice(0, 1),
      ...lines(composeVersion).filter((line) => /compos.*version/i.test(line)),
    ].join(', '),
    build: async (image, buildOptions) =>
      void (await runAloud(name, 'build', ...buildOptions, '--tag', image, '.')),
    async up(services) {
      await runAloud(...compose, 'up', '--detach', '--no-build', ...services);
      // Not everything that runs compose files fails where a container cannot be started; starting it says why.
      for (const service of services) {
        const id = await find(service);
        const state = await run(name, 'inspect', '--format', '{{.State.Status}}', id);
        if (state.trim() === 'created') await runAloud(name, 'start', id);
      }
    },
    async down() {
      await runAloud(...compose, 'down', '--volumes');
      // Not everything that runs compose files removes all of what it made.
      for (const kind of ['container', 'volume', 'network'] as const) {
        const force = kind === 'container' ? ['--force', '--volumes'] : [];
        for (const id of await remains(kind)) await run(name, kind, 'rm', ...force, id);
      }
    },
    stop: async (service) =>
      void (await runAloud(name, 'stop', '-t', `${STOP_SECONDS}`, await find(service))),
    start: async (service) => void (await runAloud(name, 'start', await find(service))),
    exec: async (service, ...command) => run(name, 'exec', await find(service), ...command),
    inspect: async (service, format) =>
      (await run(name, 'inspect', '--format', format, await find(service))).trim(),
    inspectImage: async (image, format) =>
      (await run(name, 'image', 'inspect', '--format', format, image)).trim(),
    async logs(service, count) {
      const { stdout, stderr } = await runCommand(
        [name, 'logs', '--tail', `${count}`, await find(service)],
        env,
      );
      return stdout + stderr;
    },
    list: async () => [...(await remains('container')), ...(await remains('volume'))],
  };
}

function lines(text: string): readonly string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}

/** @throws CommandError with the end of what the command wrote. */
function runCommand(
  [file = '', ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const options = { env: { ...process.env, ...env }, timeout: PATIENCE_MS, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((resolve, reject) => {
    execFile(file, args, options, (error, stdout, stderr) => {
      if (!error) return resolve({ stdout, stderr });
      const said = `${stdout}${stderr}`.trim() || error.message;
      reject(new CommandError(`${[file, ...args].join(' ')} failed:\n${said.slice(-SHOWN_CHARACTERS)}`));
    });
  });
}
