import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { isInterfaceType, parse, validate } from 'graphql';
import { MAX_JSON_DEPTH, MAX_JSON_VALUES } from '../../../src/http/json-bounds.ts';
import { createSchema } from '../../../src/schema/index.ts';
import { DEFAULT_LIMITS, MAX_JSON_NAMES } from '../../../src/schema/serving/limits.ts';
import { MAX_ID_LENGTH } from '../../../src/schema/serving/operation-ids.ts';
import { CLOSE_CODES } from '../../support/close-codes.ts';

const ROOT = join(import.meta.dirname, '../../..');
const schema = createSchema();
const guide = readFileSync(join(ROOT, 'docs/graphql.md'), 'utf8');

/** The code blocks of a language. */
function blocksOf(language: string): readonly string[] {
  return [...guide.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(
    ([, code = '']) => code,
  );
}

/** What GraphQL an example's file holds. */
function documentsIn(path: string): readonly string[] {
  const code = readFileSync(join(ROOT, path), 'utf8');
  return [...code.matchAll(/\/\* GraphQL \*\/ `([^`]*)`/g)].map(([, document = '']) => document);
}

function expectValid(document: string): void {
  expect(validate(schema, parse(document)).map(({ message }) => message)).toEqual([]);
}

describe('every document that users are given fits the schema', () => {
  const blocks = blocksOf('graphql').map((block) => [/\w+ \w+/.exec(block)?.[0] ?? block, block]);
  test.each(blocks)('docs/graphql.md: %s', (_name, document) => expectValid(document ?? ''));

  const shell = [...guide.matchAll(/"query": ("(?:[^"\\]|\\.)*")/g)].map(([, json = '']) => [json]);
  test.each(shell)('docs/graphql.md, for curl: %s', (json) => expectValid(JSON.parse(json ?? '')));

  const files = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.ts'));
  test('examples/', () => {
    const documents = files.flatMap((name) => documentsIn(`examples/${name}`));
    expect(documents.length).toBeGreaterThan(3);
    expectValid(documents.join('\n'));
  });

  test('the manifest of persisted documents', () => {
    const text = readFileSync(join(ROOT, 'examples/generated/persisted-documents.json'), 'utf8');
    const manifest: Record<string, string> = JSON.parse(text);
    expect(Object.keys(manifest).length).toBeGreaterThan(2);
    for (const document of Object.values(manifest)) expectValid(document);
  });
});

describe('docs/graphql.md', () => {
  test('has JSON that is JSON', () => {
    for (const block of blocksOf('json')) JSON.parse(block);
  });

  test('links to files that are there', () => {
    const links = [...guide.matchAll(/\]\((\.\.?\/[^)#]+)\)/g)].map(([, path = '']) => path);
    expect(links.length).toBeGreaterThan(5);
    for (const path of links) expect([path, existsSync(join(ROOT, 'docs', path))]).toEqual([path, true]);
  });

  test.each([
    'connect',
    'createAnswerStore',
    'useAnswer',
    'answerWithTools',
    'answerAs',
    'createUrqlOverHttp',
  ])('speaks of %s, which an example exports', (name) => {
    expect(guide).toContain(name);
    const examples = join(ROOT, 'examples');
    const code = readdirSync(examples)
      .filter((file) => file.endsWith('.ts'))
      .map((file) => readFileSync(join(examples, file), 'utf8'))
      .join('\n');
    expect(code).toMatch(new RegExp(`export (async )?function ${name}\\b`));
  });

  test('has the same settings of the code generator as codegen.ts', () => {
    const [, config = ''] =
      /scalars: (\{.*?\n {8}\})/s.exec(readFileSync(join(ROOT, 'codegen.ts'), 'utf8')) ?? [];
    const withoutSpace = (text: string) => text.replace(/\s+/g, '');
    expect(config).not.toBe('');
    expect(withoutSpace(guide)).toContain(withoutSpace(config));
  });

  test('has the limits that are in force', () => {
    const { document, socket } = DEFAULT_LIMITS;
    for (const [name, limit] of Object.entries(document)) expect(guide).toContain(`| ${name} | ${limit} |`);
    expect(guide).toContain(`| levels | ${MAX_JSON_DEPTH} |`);
    expect(guide).toContain(`| values | ${MAX_JSON_VALUES} |`);
    expect(guide).toContain(`| different names | ${MAX_JSON_NAMES.count} |`);
    expect(guide).toContain(`| bytes of a name | ${MAX_JSON_NAMES.bytes} |`);
    expect(guide).toContain(`| operations | ${socket.operations} |`);
    expect(guide).toContain(`| characters of an operation's id | ${MAX_ID_LENGTH} |`);
    expect(guide).toContain(`| messages per second | ${socket.messagesPerSecond} |`);
    expect(guide).toContain(`| characters of a ping's payload | ${socket.pingPayload} |`);
    expect(guide).toContain(`| seconds for a message to come in | ${socket.messageMs / 1000} |`);
    expect(guide).toContain(`| bytes of unfinished messages, per key | ${socket.unfinishedPerKey} |`);
    expect(guide).toContain(`| sockets per key | ${socket.perKey} |`);
    expect(guide).toContain(`| sockets per address | ${socket.perAddress} |`);
  });

  test('explains every code that a WebSocket is closed with', () => {
    for (const code of CLOSE_CODES) expect(guide).toMatch(new RegExp(`^\\|[ \\d,]*\\b${code}\\b`, 'm'));
  });

  test('names every code of refusal', () => {
    const path = join(dirname(import.meta.dirname), '../../src/schema/serving/refusal.ts');
    const [, union = ''] = /type RefusalCode =(.*?);/s.exec(readFileSync(path, 'utf8')) ?? [];
    const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code = '']) => code);
    expect(codes.length).toBeGreaterThan(5);
    for (const code of codes) expect(guide).toContain(`\`${code}\``);
  });
});

test('the decision on failures names the fields of errors as the schema does', () => {
  const decision = readFileSync(join(ROOT, 'docs/decisions/2026-11-22-graphql-failures.md'), 'utf8');
  const [, list = ''] = /the family is handled by \(([^)]*)\)/.exec(decision) ?? [];
  const named = [...list.matchAll(/`(\w+)`/g)].map(([, name]) => name);
  const error = schema.getType('Error');
  const types = isInterfaceType(error) ? schema.getImplementations(error).objects : [];
  expect(named.length).toBeGreaterThan(1);
  expect(types.flatMap((type) => Object.keys(type.getFields()))).toEqual(expect.arrayContaining(named));
});
