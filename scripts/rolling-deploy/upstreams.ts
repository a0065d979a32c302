import { readFileSync, realpathSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { CommandError } from '../../src/cli/program.ts';

/** A server of nginx's list. */
export interface Replica {
  /** Its place in the list, from 1. */
  readonly number: number;
  /** As nginx addresses it, e.g. `gateway-1:3000`. */
  readonly server: string;
  readonly host: string;
  /** Marked `down`: nginx sends it nothing. */
  readonly isOut: boolean;
}

/** The file with the `server` lines of nginx's upstream: the only record of which replicas are in use. */
export interface Upstreams {
  /** @throws CommandError where the file cannot be read, or lists no server. */
  list(): readonly Replica[];
  /** Marks a replica `down`, or no longer so, and leaves every other character as it is. nginx knows when it is reloaded. */
  setOut(replica: Replica, out: boolean): void;
}

/** A line such as `server gateway-1:3000 max_fails=1 down;`. Comments begin differently, and are none. */
const SERVER = /^([ \t]*server[ \t]+)((\[[\da-f:]+\]|[\w.-]+)(?::\d+)?)((?:[ \t]+[\w=.-]+)*)([ \t]*;)/gim;
const DOWN = /[ \t]+down(?![\w=.-])/;

export function openUpstreams(path: string): Upstreams {
  const list = () => {
    const replicas = parse(read(path));
    if (replicas.length === 0) throw new CommandError(`There is no \`server\` line in ${path}.`);
    return replicas;
  };
  return {
    list,
    setOut({ number }, out) {
      let count = 0;
      const text = read(path).replace(
        SERVER,
        (line, head: string, server: string, _host, rest: string, end) =>
          ++count === number ? `${head}${server}${rest.replace(DOWN, '')}${out ? ' down' : ''}${end}` : line,
      );
      replace(path, text);
    },
  };
}

function parse(text: string): readonly Replica[] {
  return [...text.matchAll(SERVER)].map(([, , server = '', host = '', rest = ''], index) => ({
    number: index + 1,
    server,
    host,
    isOut: DOWN.test(rest),
  }));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CommandError(`nginx's list of replicas cannot be read: ${(error as Error).message}.`);
  }
}

/** At once: nginx, which may be started at any moment, finds the old text or the new one. */
function replace(path: string, text: string): void {
  const file = realpathSync(path);
  const draft = `${file}.new`;
  writeFileSync(draft, text, { mode: statSync(file).mode });
  renameSync(draft, file);
}
