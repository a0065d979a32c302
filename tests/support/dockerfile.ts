/** The Dockerfile's instructions, and the tree that its image has, made without building one. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, matchesGlob } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

export interface Instruction {
  /** E.g. `COPY`. */
  readonly name: string;
  readonly value: string;
}

/** Comments left out, continued lines joined, arguments with a default in place; the last stage is the image. */
export function readStages(): readonly (readonly Instruction[])[] {
  const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '');
  const defaults = new Map([...text.matchAll(/^ARG (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
  const instructions = [...text.matchAll(/^([A-Z]+) (.*)$/gm)].map(([, name = '', value = '']) => ({
    name,
    value: value.replace(/\$\{(\w+)\}/g, (whole, argument) => defaults.get(argument) ?? whole),
  }));
  const starts = instructions.flatMap(({ name }, index) => (name === 'FROM' ? [index] : []));
  return starts.map((start, stage) => instructions.slice(start, starts[stage + 1]));
}

export interface Copy {
  readonly sources: readonly string[];
  readonly target: string;
  /** Of another stage and not of the project. */
  readonly fromStage: boolean;
}

export function listCopies(instructions: readonly Instruction[]): readonly Copy[] {
  return instructions
    .filter(({ name }) => name === 'COPY')
    .map(({ value }) => {
      const words = value.split(' ').filter((word) => !word.startsWith('--'));
      return {
        sources: words.slice(0, -1),
        target: words.at(-1) ?? '',
        fromStage: value.includes('--from='),
      };
    });
}

/** Whether `.dockerignore` keeps a path from the build. Of the lines that fit it or a folder around it, the last decides. */
export function isIgnored(path: string): boolean {
  const parents = path.split('/').map((_, index, parts) => parts.slice(0, index + 1).join('/'));
  const lines = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  // Other than here, Docker's star also stands for names that begin with a dot.
  const fits = (pattern: string) => pattern === '*' || parents.some((parent) => matchesGlob(parent, pattern));
  const deciding = lines.findLast((line) => fits(line.replace(/^!/, '')));
  return deciding !== undefined && !deciding.startsWith('!');
}

interface LockedPackage {
  readonly dev?: boolean;
}

/**
 * What `/app` is in the image: the files that are copied, and the packages that are not for development only, each as a
 * link. Node has to run with `--preserve-symlinks`, or it would find the other packages beside their real places.
 */
export function createImageTree(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'llm-gateway-image-'));
  for (const { sources, target, fromStage } of listCopies(readStages().at(-1) ?? [])) {
    if (fromStage) continue;
    for (const source of sources) {
      const filter = (from: string) => from === join(ROOT, source) || !isIgnored(from.slice(ROOT.length + 1));
      cpSync(join(ROOT, source), join(path, target === './' ? source : target), { recursive: true, filter });
    }
  }
  const lock = readFileSync(join(ROOT, 'package-lock.json'), 'utf8');
  const packages: Readonly<Record<string, LockedPackage>> = JSON.parse(lock).packages;
  for (const [place, { dev }] of Object.entries(packages)) {
    const isOwn =
      place === '' || dev || place.lastIndexOf('node_modules/') > 0 || !existsSync(join(ROOT, place));
    if (isOwn) continue;
    mkdirSync(dirname(join(path, place)), { recursive: true });
    symlinkSync(join(ROOT, place), join(path, place));
  }
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
