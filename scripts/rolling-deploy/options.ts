import { parseArgs } from 'node:util';
import { UsageError } from '../../src/cli/program.ts';

export const HELP = `Usage: npm run deploy:rolling -- [options]

Restarts the replicas one by one. Each is taken out of nginx, finishes what it has under way, restarts, and is put back
when it is ready. It stops at the first replica that does not get ready, which then stays out of nginx while the others
serve. Run it again when that is mended: what is out comes first.

  --compose COMMAND        for the services of docker-compose.yml: what runs Docker Compose, with options such as --file;
                           \`docker compose\` by default

For replicas that something else runs, give all of what follows in place of --compose:

  --restart COMMAND        restarts one replica, by SIGTERM and with its whole grace
  --reload COMMAND         makes nginx read its files again, and fails where it refuses them
  --probe COMMAND          prints what a replica answers to GET {path}, and fails where its status is 400 or more; by
                           default http://{server}{path} is asked from here

Commands are run by sh. In them, {n} is the replica's place in the list, from 1, {server} its address as nginx has it,
such as gateway-1:3000, and {host} that without the port.

  --upstreams FILE         nginx's list of the replicas; nginx/upstreams/gateway.conf by default
  --drain SECONDS          how long a replica that is out of nginx may finish what it has under way before it is sent
                           SIGTERM, after which its SHUTDOWN_GRACE_MS begins; 300 by default
  --ready SECONDS          how long a restarted replica may take to get ready; 120 by default

With Docker Compose, after \`docker compose build\` or \`docker compose pull\`:

  npm run deploy:rolling

With systemd, on the machine that nginx runs on:

  npm run deploy:rolling -- --upstreams /etc/nginx/upstreams/gateway.conf \\
    --restart 'systemctl restart llm-gateway@{n}' --reload 'nginx -t -q && nginx -s reload'

With podman-compose, which restarts all that a service depends on along with it, and kills after 10 seconds:

  npm run deploy:rolling -- \\
    --restart 'podman stop --time 60 llm-gateway_{host}_1 && podman rm llm-gateway_{host}_1 &&
      podman-compose up --detach --no-build {host}' \\
    --reload "podman exec llm-gateway_nginx_1 sh -c 'nginx -t -q && nginx -s reload'" \\
    --probe 'podman exec llm-gateway_nginx_1 curl --fail --silent http://{server}{path}'

Exits with 0 when every replica has been restarted, 1 where it stopped, 2 for a command line that is wrong.`;

export interface Options {
  /** The file with nginx's list of the replicas. */
  readonly upstreams: string;
  /** Commands for a shell, with `{n}`, `{server}`, `{host}` and `{path}` still in them. */
  readonly restart: string;
  readonly reload: string;
  /** Undefined: replicas are asked directly. */
  readonly probe: string | undefined;
  readonly drainMs: number;
  readonly readyMs: number;
}

/**
 * @returns undefined where help is asked for.
 * @throws UsageError
 */
export function parseOptions(args: readonly string[]): Options | undefined {
  const values = readValues(args);
  if (values.help) return undefined;
  const { upstreams = 'nginx/upstreams/gateway.conf', drain = '300', ready = '120' } = values;
  return {
    upstreams,
    ...commandsOf(values),
    drainMs: parseSeconds('drain', drain),
    readyMs: parseSeconds('ready', ready),
  };
}

function readValues(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      strict: true,
      options: {
        compose: { type: 'string' },
        restart: { type: 'string' },
        reload: { type: 'string' },
        probe: { type: 'string' },
        upstreams: { type: 'string' },
        drain: { type: 'string' },
        ready: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message} See npm run deploy:rolling -- --help.`);
  }
}

function commandsOf({
  compose,
  restart,
  reload,
  probe,
}: {
  readonly compose?: string;
  readonly restart?: string;
  readonly reload?: string;
  readonly probe?: string;
}): Pick<Options, 'restart' | 'reload' | 'probe'> {
  if (restart === undefined && reload === undefined && probe === undefined) {
    return composeCommands(compose ?? 'docker compose');
  }
  if (compose !== undefined)
    throw new UsageError('--compose stands in place of --restart, --reload and --probe.');
  if (restart === undefined || reload === undefined)
    throw new UsageError('Give both --restart and --reload.');
  return { restart, reload, probe };
}

/** The services have no port on this machine, so they are asked from where nginx asks them. */
function composeCommands(compose: string): Pick<Options, 'restart' | 'reload' | 'probe'> {
  return {
    restart: `${compose} up --detach --no-deps --force-recreate {host}`,
    reload: `${compose} exec -T nginx sh -c 'nginx -t -q && nginx -s reload'`,
    probe: `${compose} exec -T nginx curl --fail --silent --max-time 5 http://{server}{path}`,
  };
}

function parseSeconds(name: string, text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new UsageError(`--${name} is a whole number of seconds, up to 99999.`);
  return Number(text) * 1000;
}
