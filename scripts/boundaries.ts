/**
 * Holds the source to boundaries.json, and to the few rules about files that no linter knows.
 * Prints each violation as `file:line: what is wrong`, and exits with 1 where there is any.
 */
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { basename, dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findImports } from './imports.ts';

/** What one top-level entry of src may import. */
interface Boundary {
  /** Other entries, with the files that may be imported of each; `*` is all of them. */
  readonly imports: '*' | Readonly<Record<string, '*' | readonly string[]>>;
  /** Libraries, `node:` ones included; `*` is all of them. */
  readonly packages: '*' | readonly string[];
}

/** By the name of the entry. */
type Boundaries = ReadonlyMap<string, Boundary>;

const MAX_LINES = 400;
const VAGUE_NAME = /^(utils?|helpers?|common|misc|types?)\.[^/]*$/;

/** @returns the violations found in the project at `root`, in the order of its files. */
export function findViolations(root: string): readonly string[] {
  const boundaries = readBoundaries(root);
  return [
    ...checkEntries(root, boundaries),
    ...listFiles(root, 'src/**/*.ts').flatMap((file) => checkImports(root, file, boundaries)),
    ...listFiles(root, '{src,simulator,scripts,tests,bench}/**/*')
      .filter((file) => VAGUE_NAME.test(basename(file)))
      .map((file) => `${file}:1: a file is named after what it holds, and everything is ${stemOf(file)}`),
    ...listFiles(root, '{src,simulator}/**/*.{ts,lua}').flatMap((file) => checkLength(root, file)),
  ];
}

/** Each folder and file at the top of src has to say what it may import, so that a new one is a decision. */
function checkEntries(root: string, boundaries: Boundaries): readonly string[] {
  return readdirSync(join(root, 'src'))
    .filter((entry) => !boundaries.has(entry))
    .map((entry) => `src/${entry}:1: not listed in boundaries.json`);
}

function checkImports(root: string, file: string, boundaries: Boundaries): readonly string[] {
  const path = posix.relative('src', file);
  const boundary = boundaries.get(entryOf(path));
  if (!boundary) return [];
  const violations: string[] = [];
  for (const { specifier, line } of findImports(readFileSync(join(root, file), 'utf8'))) {
    const problem =
      specifier === undefined
        ? checkComputed(boundary)
        : specifier.startsWith('.')
          ? checkRelative(path, specifier, boundary)
          : checkPackage(path, specifier, boundary);
    if (problem) violations.push(`${file}:${line}: ${problem}`);
  }
  return violations;
}

function checkComputed({ packages }: Boundary): string | undefined {
  return packages === '*' ? undefined : 'an import() that computes what it imports cannot be checked';
}

function checkRelative(path: string, specifier: string, { imports }: Boundary): string | undefined {
  const target = posix.join(posix.dirname(path), specifier);
  const from = entryOf(path);
  const isOutside = target.startsWith('../');
  const to = isOutside ? `../${entryOf(target.slice(3))}` : entryOf(target);
  if (from === to || imports === '*') return undefined;
  const allowed = imports[to];
  if (isOutside && !allowed) return `${from} may not import what is outside src (${specifier})`;
  const rest = posix.relative(to, target);
  if (allowed === '*' || allowed?.includes(rest)) return undefined;
  if (allowed) return `${from} may import of ${to} only ${allowed.join(', ')}, not ${rest}`;
  return `${from} may not import ${to}`;
}

function checkPackage(path: string, specifier: string, { packages }: Boundary): string | undefined {
  if (builtinModules.includes(specifier)) return `${specifier} is written node:${specifier}`;
  const name = specifier.startsWith('node:') ? specifier : packageOf(specifier);
  if (packages === '*' || packages.includes(name)) return undefined;
  return `${entryOf(path)} may not import ${name}`;
}

function checkLength(root: string, file: string): readonly string[] {
  const lines = readFileSync(join(root, file), 'utf8').trimEnd().split('\n').length;
  return lines > MAX_LINES ? [`${file}:${MAX_LINES + 1}: ${lines} lines, of ${MAX_LINES} allowed`] : [];
}

function readBoundaries(root: string): Boundaries {
  const { $comment: _, ...boundaries }: Record<string, Boundary> = JSON.parse(
    readFileSync(join(root, 'boundaries.json'), 'utf8'),
  );
  return new Map(Object.entries(boundaries));
}

function listFiles(root: string, pattern: string): readonly string[] {
  return globSync(pattern, {
    cwd: root,
    withFileTypes: true,
    // The benchmark's peers have packages of their own.
    exclude: ({ name }) => name === 'node_modules',
  })
    .filter((entry) => entry.isFile())
    .map((entry) => posix.relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

function entryOf(path: string): string {
  return path.split('/', 1)[0] ?? path;
}

/** `@scope/name/deep` and `name/deep` without what is deep. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function stemOf(file: string): string {
  return basename(file).replace(/\..*$/, '');
}

function main(): void {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const violations = findViolations(root);
  for (const violation of violations) console.error(violation);
  if (violations.length > 0) process.exitCode = 1;
}

if (import.meta.main) main();
