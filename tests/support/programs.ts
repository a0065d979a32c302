/** The servers and browsers that tests run against: found on this machine, or installed on it. */
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants, globSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

interface ProgramSource {
  /** The Debian package that brings the program. */
  readonly debianPackage: string;
  /** Places besides PATH where the program may be; globs are allowed, and the last match in a glob wins. */
  readonly candidates?: readonly string[];
  /** The environment variable that makes the program unnecessary, such as the URL of a running server. */
  readonly variable?: string;
}

/**
 * The path of a program. Where it is missing and this is root on a Debian, it is installed, which takes a while: do it
 * in the global set-up and not within a test's time.
 * @throws Error with one sentence that says what to install.
 */
export async function findProgram(name: string, source: ProgramSource): Promise<string> {
  const present = lookFor(name, source);
  if (present) return present;
  const reason = await install(source.debianPackage);
  const installed = lookFor(name, source);
  if (installed) return installed;
  const otherwise = source.variable ? `, or set ${source.variable}` : '';
  throw new Error(
    `The tests need ${name}: install it (Debian package ${source.debianPackage})${otherwise}. ${reason}`,
  );
}

function lookFor(name: string, source: ProgramSource): string | undefined {
  // Debian keeps servers in directories that the PATH of an ordinary user lacks.
  const path = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin'];
  const candidates = (source.candidates ?? []).flatMap((pattern) => globSync(pattern).sort().reverse());
  return [...path.map((directory) => join(directory, name)), ...candidates].find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * `policy-rc.d` is how Debian is told not to start the services it installs. The second look at the package is for
 * whoever waited for the lock while somebody else installed it.
 */
const INSTALL = `
  status=$(dpkg-query -W -f '\${db:Status-Status}' "$1" 2>/dev/null)
  [ "$status" = installed ] && exit 0
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$1"
`;

/** @returns why the package is not there, where it is not. */
async function install(debianPackage: string): Promise<string> {
  if (process.getuid?.() !== 0) return 'Only root can install it from here.';
  if (!isExecutable('/usr/bin/apt-get')) return 'There is no apt-get here to install it with.';
  try {
    // One installer at a time on this machine; a crash gives the lock back.
    await promisify(execFile)(
      'flock',
      ['/tmp/llm-gateway-tests-apt.lock', 'sh', '-c', INSTALL, 'install', debianPackage],
      { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, maxBuffer: 64 * 1024 * 1024 },
    );
    return '';
  } catch {
    return `Running apt-get install ${debianPackage} failed.`;
  }
}

/** A server that a test started, as a process. */
export interface ServerProcess {
  /** The server's own process id, for signals such as SIGSTOP. */
  readonly pid: number;
  /** Ends the server and waits until it is gone. Idempotent. */
  stop(signal?: 'SIGTERM' | 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void>;
  /** Resolves when the server has ended, for whatever reason. */
  readonly exited: Promise<void>;
  /** What the server has said lately on stdout and stderr. */
  output(): string;
}

/**
 * Runs the server next to a watcher of standard input, which closes when the test process ends in whatever way: a test
 * run that is killed leaves no server behind. The first line of standard output is the server's process id.
 */
const SUPERVISE = `
  exec 3<&0 4>&1 >&2
  "$@" </dev/null 3<&- 4>&- &
  server=$!
  echo "$server" >&4
  exec 4>&-
  { cat <&3; for signal in CONT QUIT TERM; do kill -$signal "$server"; done; sleep 6; kill -KILL "$server"; } >/dev/null 2>&1 &
  watcher=$!
  exec 3<&-
  wait "$server"
  kill "$watcher"
`;

/** How much of a server's output is kept for error messages, in characters. */
const KEPT_OUTPUT = 10_000;

/**
 * Starts a program that keeps running; it ends with this process at the latest.
 * @param options `uid` and `gid` run it as somebody else, which only root may do.
 */
export async function startServer(
  program: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly uid?: number; readonly gid?: number } = {},
): Promise<ServerProcess> {
  const child = spawn('sh', ['-c', SUPERVISE, 'supervise', program, ...args], {
    ...options,
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  let output = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-KEPT_OUTPUT);
  });
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
  const pid = Number.parseInt(line, 10);
  return {
    pid,
    exited: exited.then(() => undefined),
    output: () => output,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) process.kill(pid, signal);
      await exited;
      child.stdin.destroy();
    },
  };
}

/** Below the ports that systems give to outgoing connections: one of these could take it before the server does. */
const PORTS = { from: 10_000, below: 32_000 } as const;

/** A TCP port of 127.0.0.1 that is free now. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.below);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') continue;
      throw error;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}
