import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { findViolations } from '../../scripts/boundaries.ts';
import { findOutdated, writeOutdated } from '../../scripts/generate.ts';
import { findImports } from '../../scripts/imports.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** A project of the given files, with domain below core below rest. */
function createProject(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'boundaries-'));
  folders.push(root);
  const boundaries = {
    domain: { imports: {}, packages: [] },
    core: { imports: { domain: '*' }, packages: ['node:crypto', 'lru-cache', '@scope/name'] },
    rest: { imports: { domain: '*', core: ['ports.ts'] }, packages: ['express'] },
    'main.ts': { imports: '*', packages: '*' },
  };
  const all = { 'boundaries.json': JSON.stringify(boundaries), 'src/main.ts': '', ...files };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

describe('imports', () => {
  test.each([
    ['another entry that is listed', 'src/core/a.ts', "import '../domain/b.ts'"],
    ['the same entry, at any depth', 'src/core/steps/a.ts', "import '../chat.ts'"],
    [
      'a listed file of a narrowed entry',
      'src/rest/routes/a.ts',
      "import { type P } from '../../core/ports.ts'",
    ],
    ['a listed package', 'src/core/a.ts', "import 'lru-cache'"],
    ['something inside of a listed package', 'src/core/a.ts', "import '@scope/name/deep/er'"],
    ['a listed part of Node', 'src/core/a.ts', "import { hash } from 'node:crypto'"],
    [
      'anything, where the entry may',
      'src/main.ts',
      "import 'pg'; import './core/x.ts'; import '../simulator/y.ts'",
    ],
    ['what is only text', 'src/domain/a.ts', "// import 'pg'\nexport const text = `import 'pg'`;"],
  ])('%s may be imported', (_what, path, text) => {
    expect(findViolations(createProject({ [path]: text }))).toEqual([]);
  });

  test.each([
    [
      'an entry that is not listed',
      'src/domain/a.ts',
      "\nimport '../core/b.ts'",
      '2: domain may not import core',
    ],
    ['a type of it', 'src/core/a.ts', "import type { A } from '../rest/b.ts'", '1: core may not import rest'],
    ['what it exports', 'src/core/a.ts', "\n\nexport * from '../rest/b.ts'", '3: core may not import rest'],
    [
      'a type within a type',
      'src/domain/a.ts',
      "type A = import('../core/b.ts').B",
      '1: domain may not import core',
    ],
    ['it, at run time', 'src/domain/a.ts', "await import('../core/b.ts')", '1: domain may not import core'],
    ['a file at the top', 'src/core/a.ts', "import '../main.ts'", '1: core may not import main.ts'],
    [
      'another file of a narrowed entry',
      'src/rest/routes/a.ts',
      "import '../../core/steps/ports.ts'",
      '1: rest may import of core only ports.ts, not steps/ports.ts',
    ],
    [
      'what is outside src',
      'src/core/a.ts',
      "import '../../package.json'",
      '1: core may not import what is outside src (../../package.json)',
    ],
    [
      'a package that is not listed',
      'src/core/a.ts',
      "import express from 'express'",
      '1: core may not import express',
    ],
    [
      'a neighbour of a listed package',
      'src/core/a.ts',
      "import '@scope/other'",
      '1: core may not import @scope/other',
    ],
    [
      'a part of Node that is not listed',
      'src/core/a.ts',
      "import 'node:fs'",
      '1: core may not import node:fs',
    ],
    ['Node without its prefix', 'src/core/a.ts', "import 'crypto'", '1: crypto is written node:crypto'],
    [
      'what only running shows',
      'src/core/a.ts',
      'await import(name)',
      '1: an import() that computes what it imports cannot be checked',
    ],
  ])('%s may not be imported', (_what, path, text, violation) => {
    expect(findViolations(createProject({ [path]: text }))).toEqual([`${path}:${violation}`]);
  });

  test('are found whatever stands before them', () => {
    expect(findImports("#!/usr/bin/env node\n/* é\n*/ import a, { b } from\n  'c';\nexport {};")).toEqual([
      { specifier: 'c', line: 4 },
    ]);
  });
});

describe('files', () => {
  test('a new entry of src has to be listed', () => {
    const root = createProject({ 'src/plugins/a.ts': '', 'src/extra.ts': '' });
    expect(findViolations(root)).toEqual([
      'src/extra.ts:1: not listed in boundaries.json',
      'src/plugins:1: not listed in boundaries.json',
    ]);
  });

  test.each([
    'src/core/utils.ts',
    'simulator/helpers.ts',
    'tests/support/common.ts',
    'src/rest/types.d.ts',
    'scripts/misc.ts',
  ])('%s names nothing, and is refused', (path) => {
    expect(findViolations(createProject({ [path]: '' }))).toEqual([expect.stringMatching(`^${path}:1: `)]);
  });

  test('a folder may have such a name: its files say what they hold', () => {
    expect(findViolations(createProject({ 'src/rest/types/chat.ts': '' }))).toEqual([]);
  });

  test('what is installed below may be called anything', () => {
    expect(findViolations(createProject({ 'bench/peers/node_modules/a/utils.js': '' }))).toEqual([]);
  });

  test('400 lines are the most', () => {
    const root = createProject({ 'src/core/a.ts': ';\n'.repeat(400), 'simulator/b.ts': ';\n'.repeat(401) });
    expect(findViolations(root)).toEqual(['simulator/b.ts:401: 401 lines, of 400 allowed']);
  });
});

describe('generated files', () => {
  const file = (text: string) => ({ path: 'docs/made.txt', produce: () => text });

  test('are written where they are missing or out of date, and left alone otherwise', () => {
    const root = createProject({});
    expect(findOutdated(root, [file('a')])).toEqual(['docs/made.txt']);
    expect(writeOutdated(root, [file('a')])).toEqual(['docs/made.txt']);
    expect(findOutdated(root, [file('a')])).toEqual([]);
    expect(writeOutdated(root, [file('a')])).toEqual([]);
    expect(findOutdated(root, [file('b')])).toEqual(['docs/made.txt']);
  });
});
