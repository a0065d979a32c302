/**
 * Writes the files that are made from others. With `--check` it writes nothing, names the files that are out of date, and
 * exits with 1 where there is any.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createOpenApiDocument } from '../src/rest/openapi.ts';

/** A file that is kept in the repository, and that this script alone writes. */
export interface GeneratedFile {
  /** From the root of the project. */
  readonly path: string;
  /** Gives the same text for the same sources. */
  produce(): string;
}

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const FILES: readonly GeneratedFile[] = [
  {
    path: 'docs/openapi.json',
    produce: () => `${JSON.stringify(createOpenApiDocument(readVersion()), null, 2)}\n`,
  },
];

/** @returns the paths of the files whose text is not what it would be now. */
export function findOutdated(root: string, files: readonly GeneratedFile[]): readonly string[] {
  return files
    .filter(({ path, produce }) => readIfThere(join(root, path)) !== produce())
    .map(({ path }) => path);
}

/** Writes every file whose text has changed. @returns the paths of those. */
export function writeOutdated(root: string, files: readonly GeneratedFile[]): readonly string[] {
  const outdated = findOutdated(root, files);
  for (const { path, produce } of files) {
    if (!outdated.includes(path)) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), produce());
  }
  return outdated;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function readVersion(): string {
  const { version }: { readonly version: string } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  );
  return version;
}

function main(): void {
  if (!process.argv.includes('--check')) {
    for (const path of writeOutdated(ROOT, FILES)) console.log(`wrote ${path}`);
    return;
  }
  const outdated = findOutdated(ROOT, FILES);
  for (const path of outdated) console.error(`${path} is out of date: run npm run generate`);
  if (outdated.length > 0) process.exitCode = 1;
}

if (import.meta.main) main();
