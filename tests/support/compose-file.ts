/** `docker-compose.yml` as Compose understands it: merged, with the values of variables in place. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const ROOT = join(import.meta.dirname, '../..');

/** What the tests look at of a service. Unset is absent. */
export interface ComposeService {
  readonly image: string;
  readonly build?: string;
  readonly pull_policy?: string;
  readonly user?: string;
  readonly command?: readonly string[];
  /** Null: as the variable of that name is, if it is. */
  readonly environment?: Readonly<Record<string, string | null>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly networks?: readonly string[];
  readonly profiles?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean };
  readonly restart?: string;
  readonly init?: boolean;
  readonly read_only?: boolean;
  readonly privileged?: boolean;
  readonly cap_add?: readonly string[];
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly logging?: { readonly options?: Readonly<Record<string, string>> };
  readonly stop_grace_period?: string;
  readonly deploy?: {
    readonly resources?: { readonly limits?: { readonly memory?: string; readonly pids?: number } };
  };
}

export interface ComposeFile {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly networks: Readonly<Record<string, unknown>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

export type Variables = Readonly<Record<string, string>>;

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** @param variables what `.env` and the shell would set. */
export function readComposeFile(variables: Variables = {}, path = 'docker-compose.yml'): ComposeFile {
  return parse(substitute(readText(path), variables), { merge: true });
}

/** `${NAME}` and `${NAME:-fallback}`, the only forms that the project uses: the older podman-compose knows no others. `$$` is a plain `$`. */
const REFERENCE = /\$\{(\w+)(?::-([^}]+))?\}/g;

function substitute(text: string, variables: Variables): string {
  return text
    .replace(REFERENCE, (_whole, name: string, fallback = '') => variables[name] || fallback)
    .replaceAll('$$', () => '$');
}

/** Every variable that the file reads, with its fallback, also where a service hands it on as it is. */
export function listReferences(path = 'docker-compose.yml'): ReadonlyMap<string, string | undefined> {
  const text = readText(path);
  const references = new Map(
    [...text.matchAll(REFERENCE)].map(([, name = '', fallback]) => [name, fallback]),
  );
  for (const { environment = {} } of Object.values(readComposeFile({}, path).services)) {
    for (const [name, value] of Object.entries(environment))
      if (value === null) references.set(name, undefined);
  }
  return references;
}

/** What a service's process finds in its environment. */
export function environmentOf({ environment = {} }: ComposeService, variables: Variables = {}): Variables {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => {
      const text = value ?? variables[name];
      return text === undefined ? [] : [[name, String(text)]];
    }),
  );
}

/** `.env.example`. @param proposed also what stands behind a `#`, as a line to be made valid. */
export function readEnvExample({ proposed = false } = {}): Variables {
  const line = proposed ? /^#?([A-Z_]+)=(.*)$/gm : /^([A-Z_]+)=(.*)$/gm;
  return Object.fromEntries(
    [...readText('.env.example').matchAll(line)].map(([, name, value]) => [name, value]),
  );
}
