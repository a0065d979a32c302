/**
 * Writes the files that are made from others. With `--check` it writes nothing, names the files that are out of date, and
 * exits with 1 where there is any.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { printSchema } from 'graphql';
import { renderCorsTest } from '../src/rest/cors-test/page.ts';
import { createOpenApiDocument } from '../src/rest/openapi.ts';
import { createSchema } from '../src/schema/index.ts';
import { describeVariables } from '../src/variables.ts';

/** A file that is kept in the repository, and that this script alone writes. */
export interface GeneratedFile {
  /** From the root of the project. */
  readonly path: string;
  /**
   * Gives the same text for the same sources.
   * @param previous the file as it is; empty where there is none.
   */
  produce(previous: string): string;
}

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const FILES: readonly GeneratedFile[] = [
  {
    path: 'docs/openapi.json',
    produce: () => `${JSON.stringify(createOpenApiDocument(readVersion()), null, 2)}\n`,
  },
  { path: 'schema.graphql', produce: () => `${printSchema(createSchema())}\n` },
  { path: 'test-browser-cors.html', produce: () => renderCorsTest().html },
  { path: 'README.md', produce: (readme) => replaceSection(readme, 'variables', listVariables()) },
];

/** The types of the examples' documents, as `codegen.ts` wants them made from the schema as it is now. */
async function produceClientTypes(): Promise<readonly GeneratedFile[]> {
  // The generator takes longer to load than everything else here.
  const [{ generate }, { default: config }] = await Promise.all([
    import('@graphql-codegen/cli'),
    import('../codegen.ts'),
  ]);
  const schema = printSchema(createSchema());
  const made: readonly { readonly filename: string; readonly content: string }[] = await generate(
    { ...config, schema, cwd: ROOT, silent: true },
    false,
  );
  return made.map(({ filename, content }) => ({ path: filename, produce: () => content }));
}

/** @returns the paths of the files whose text is not what it would be now. */
export function findOutdated(root: string, files: readonly GeneratedFile[]): readonly string[] {
  return files
    .filter(({ path, produce }) => {
      const previous = readIfThere(join(root, path));
      return previous !== produce(previous ?? '');
    })
    .map(({ path }) => path);
}

/** Writes every file whose text has changed. @returns the paths of those. */
export function writeOutdated(root: string, files: readonly GeneratedFile[]): readonly string[] {
  const outdated = findOutdated(root, files);
  for (const { path, produce } of files) {
    if (!outdated.includes(path)) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), produce(readIfThere(join(root, path)) ?? ''));
  }
  return outdated;
}

/** Puts `text` between the comments `<!-- name -->` and `<!-- /name -->`. */
function replaceSection(document: string, name: string, text: string): string {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const from = document.indexOf(start) + start.length;
  const to = document.indexOf(end, from);
  if (from < start.length || to < 0) throw new Error(`there is no section between ${start} and ${end}`);
  return `${document.slice(0, from)}\n\n${text}\n\n${document.slice(to)}`;
}

function listVariables(): string {
  const rows = describeVariables().map(
    ({ name, default: value, meaning }) => `| \`${name}\` | ${value} | ${meaning} |`,
  );
  return ['| variable | default | meaning |', '| --- | --- | --- |', ...rows].join('\n');
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

async function main(): Promise<void> {
  const files = [...FILES, ...(await produceClientTypes())];
  if (!process.argv.includes('--check')) {
    for (const path of writeOutdated(ROOT, files)) console.log(`wrote ${path}`);
    return;
  }
  const outdated = findOutdated(ROOT, files);
  for (const path of outdated) console.error(`${path} is out of date: run npm run generate`);
  if (outdated.length > 0) process.exitCode = 1;
}

if (import.meta.main) await main();
