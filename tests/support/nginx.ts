/** Real nginx under the files of `nginx/`: only ports, paths and the list of replicas are this test's own. */
import { execFile } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createCertificate } from './certificate.ts';
import { eventually } from './eventually.ts';
import { findFreePort, findProgram, type ServerProcess, startServer } from './programs.ts';

const run = promisify(execFile);
const FILES = join(import.meta.dirname, '../../nginx');

export interface NginxOptions {
  /** The replicas, e.g. `127.0.0.1:4001`. */
  readonly upstreams: readonly string[];
  /** Runs `tls.conf`, with a certificate that nobody but this test trusts. */
  readonly tls?: boolean;
  /** Names of the gateway besides those of this machine, separated by spaces. */
  readonly serverNames?: string;
}

export interface Nginx {
  /** E.g. `http://127.0.0.1:3000`; with `tls` an `https:` one. */
  readonly url: string;
  readonly port: number;
  /** Of the master process. */
  readonly pid: number;
  /** The live list of replicas, which deployments rewrite. */
  readonly upstreamsFile: string;
  readonly tls: NginxTls | undefined;
  /** Puts these replicas in the place of all others; `down` ones are listed as such. */
  setUpstreams(upstreams: readonly string[], down?: readonly string[]): Promise<void>;
  /** Resolves when new workers serve, and the former ones take nothing more. Rejects where the files are not in order. */
  reload(): Promise<void>;
  /** What has been logged so far. A line is written when its request is over, which its client may know before. */
  accessLog(): readonly Record<string, unknown>[];
  /** The first line, of those logged already and those to come, that fits. */
  untilLogged(fits: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** All that nginx has said besides. */
  errorLog(): string;
  stop(): Promise<void>;
}

export interface NginxTls {
  /** In PEM, for `localhost` and `127.0.0.1`. */
  readonly certificate: string;
  /** Where plain HTTP is answered. */
  readonly httpUrl: string;
}

function findNginx(): Promise<string> {
  return findProgram('nginx', { debianPackage: 'nginx', candidates: ['/opt/homebrew/bin/nginx'] });
}

/** Sees to it before the first test that there is an nginx. Each test starts its own. */
export async function installNginx(): Promise<() => Promise<void>> {
  await findNginx();
  return async () => undefined;
}

/** Resolves when it serves; the replicas need not be there. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const program = await findNginx();
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-nginx-'));
  // Its workers are another user's where this one is root.
  chmodSync(directory, 0o755);
  const [port, otherPort] = await Promise.all([findFreePort(), findFreePort()]);
  const [httpPort, httpsPort] = options.tls ? [otherPort, port] : [port, otherPort];
  const certificate = options.tls
    ? readFileSync((await createCertificate(directory)).certificate, 'utf8')
    : undefined;
  const environment = {
    NGINX_VERSION: await versionOf(program),
    NGINX_SERVER_NAMES: options.serverNames ?? '',
    NGINX_TLS_CERTIFICATE: join(directory, 'certificate.pem'),
    NGINX_TLS_CERTIFICATE_KEY: join(directory, 'certificate.key'),
    NGINX_HTTPS_PORT: String(httpsPort),
  };
  const etc = join(directory, 'etc');
  mount(etc, directory, { httpPort, httpsPort }, environment);
  const upstreamsFile = join(etc, 'upstreams/gateway.conf');
  listServers(upstreamsFile, options.upstreams, []);

  const args = ['-p', directory, '-c', join(etc, options.tls ? 'tls.conf' : 'nginx.conf'), '-e', 'stderr'];
  const server = await startServer(program, [...args, '-g', 'daemon off;']);
  const stop = async () => {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  await untilServing(httpPort, server).catch(async (error: Error) => {
    await stop();
    throw error;
  });

  const accessLog = () => readLog(join(directory, 'access.log'));
  const nginx: Nginx = {
    url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    port,
    pid: server.pid,
    upstreamsFile,
    tls: certificate === undefined ? undefined : { certificate, httpUrl: `http://127.0.0.1:${httpPort}` },
    async setUpstreams(upstreams, down = []) {
      listServers(upstreamsFile, upstreams, down);
      await nginx.reload();
    },
    async reload() {
      await run(program, [...args, '-t', '-q']);
      await reload(server.pid);
    },
    accessLog,
    untilLogged: (fits) => eventually('a line of the access log', () => accessLog().find(fits)),
    errorLog: server.output,
    stop,
  };
  return nginx;
}

async function versionOf(program: string): Promise<string> {
  const { stderr } = await run(program, ['-v']);
  return /nginx\/(\S+)/.exec(stderr)?.[1] ?? '';
}

/** Copies the files to where they may be changed, with everything in its place that Compose and the image put there. */
function mount(
  etc: string,
  directory: string,
  { httpPort, httpsPort }: { readonly httpPort: number; readonly httpsPort: number },
  environment: Readonly<Record<string, string>>,
): void {
  cpSync(FILES, etc, { recursive: true });
  const configurations = readdirSync(etc).filter((name) => name.endsWith('.conf'));
  for (const path of configurations.map((name) => join(etc, name))) {
    const text = readFileSync(path, 'utf8')
      .replaceAll(/\blisten 3000\b/g, `listen 127.0.0.1:${httpPort}`)
      .replaceAll(/\blisten 3443\b/g, `listen 127.0.0.1:${httpsPort}`)
      .replaceAll(' /tmp/', ` ${directory}/`)
      .replaceAll(' /dev/stdout', ` ${join(directory, 'access.log')}`);
    writeFileSync(path, text);
  }
  // As the image's entry point does, which replaces the variables that are set and leaves the others.
  for (const name of readdirSync(join(etc, 'templates'))) {
    const text = readFileSync(join(etc, 'templates', name), 'utf8').replaceAll(
      /\$\{(\w+)\}/g,
      (whole, variable: string) => environment[variable] ?? whole,
    );
    writeFileSync(join(etc, 'conf.d', name.replace(/\.template$/, '')), text);
  }
}

/** Writes lines like those of the file in the repository, with all of their parameters. */
function listServers(path: string, upstreams: readonly string[], down: readonly string[]): void {
  const original = readFileSync(join(FILES, 'upstreams/gateway.conf'), 'utf8');
  const parameters = /^server \S+(.*);$/m.exec(original)?.[1];
  if (parameters === undefined) throw new Error('there is no server line in nginx/upstreams/gateway.conf');
  const lines = upstreams.map(
    (server) => `server ${server}${parameters}${down.includes(server) ? ' down' : ''};\n`,
  );
  writeFileSync(`${path}.new`, lines.join(''));
  renameSync(`${path}.new`, path);
}

async function untilServing(port: number, server: ServerProcess): Promise<void> {
  let running = true;
  void server.exited.then(() => {
    running = false;
  });
  await eventually('nginx', async () => {
    if (!running) throw new Error(`nginx did not start: ${server.output()}`);
    return await isAlive(port);
  });
}

function isAlive(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host: '127.0.0.1', port, path: '/nginx-health', agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('error', () => resolve(false));
  });
}

/** A signal is taken note of at some time later, so that the workers show when the new files have come into force. */
async function reload(master: number): Promise<void> {
  const former = (await workersOf(master)).map(({ pid }) => pid);
  process.kill(master, 'SIGHUP');
  await eventually('new workers', async () => {
    const workers = await workersOf(master);
    const isNew = workers.some(({ pid }) => !former.includes(pid));
    return isNew && workers.every(({ pid, title }) => !former.includes(pid) || /shutting down/.test(title));
  });
}

async function workersOf(
  master: number,
): Promise<readonly { readonly pid: number; readonly title: string }[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'ppid=,pid=,args=']);
  return [...stdout.matchAll(/^ *(\d+) +(\d+) (.*)$/gm)]
    .filter(([, parent, , title = '']) => Number(parent) === master && title.includes('worker process'))
    .map(([, , pid, title = '']) => ({ pid: Number(pid), title }));
}

function readLog(path: string): readonly Record<string, unknown>[] {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}
