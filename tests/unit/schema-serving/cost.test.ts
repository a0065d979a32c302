import { describe, expect, test } from '@jest/globals';
import { type DocumentNode, getOperationAST, parse } from 'graphql';
import { createSchema } from '../../../src/schema/index.ts';
import { requireModestCost } from '../../../src/schema/serving/cost.ts';
import { DEFAULT_LIMITS, type DocumentLimits } from '../../../src/schema/serving/limits.ts';

const schema = createSchema();

/** Refuses the first operation, or does not, by the limits that are in force but for those given. */
function requireModest(
  document: DocumentNode,
  variables: Record<string, unknown> = {},
  limits: Partial<DocumentLimits> = {},
): void {
  const name = document.definitions.find((definition) => definition.kind === 'OperationDefinition')?.name;
  const operation = getOperationAST(document, name?.value);
  if (!operation) throw new Error('the document has no operation');
  requireModestCost(schema, document, operation, variables, { ...DEFAULT_LIMITS.document, ...limits });
}

/** The lowest limit on complexity that lets the operation through. */
function complexityOf(source: string, variables: Record<string, unknown> = {}): number {
  const document = parse(source);
  const passes = (complexity: number) => {
    try {
      requireModest(document, variables, { complexity });
      return true;
    } catch (error) {
      expect(error).toMatchObject({ extensions: { code: 'DOCUMENT_TOO_COMPLEX', limit: 'complexity' } });
      return false;
    }
  };
  let [low, high] = [0, 1e9];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (passes(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

describe('what execution is taken to cost', () => {
  test.each([
    ['a field of an object', '{ viewer { name } }', 2],
    ['a list whose size nobody tells: ten entries', '{ models { id } }', 1 + 10],
    ['a list in a list', '{ models { backends { label } } }', 1 + 10 * (1 + 10)],
    ['a page: as many entries as it asks for', '{ apiKeys(first: 7) { nodes { id } } }', 1 + 7 * (1 + 1)],
    ['a page that does not say: twenty', '{ apiKeys { nodes { id } } }', 1 + 20 * (1 + 1)],
    ['ids: as many as there are', '{ nodes(ids: ["a", "b", "c"]) { id } }', 1 + 3],
    [
      'a page by a named fragment: as written out',
      '{ apiKeys(first: 7) { ...P } } fragment P on ApiKeyConnection { nodes { id } }',
      1 + 7 * (1 + 1),
    ],
    [
      'a page by a fragment in a fragment in an inline one: as written out',
      `{ apiKeys(first: 7) { ... { ...P } } }
       fragment P on ApiKeyConnection { ...E }
       fragment E on ApiKeyConnection { edges { node { id } } }`,
      1 + 7 * (1 + 1 + 1),
    ],
    [
      'a page by a fragment that comes before it: as written out',
      'fragment P on ApiKeyConnection { nodes { id } } { apiKeys(first: 7) { ...P } }',
      1 + 7 * (1 + 1),
    ],
    [
      'a list by a named fragment: ten entries, on a page too',
      `{ apiKeys(first: 7) { nodes { ...M } } models { ...L } }
       fragment M on ApiKey { metadata { name } }
       fragment L on Model { backends { label } }`,
      1 + 7 * (1 + 1 + 10) + 1 + 10 * (1 + 10),
    ],
  ])('%s', (_name, source, complexity) => {
    expect(complexityOf(source)).toBe(complexity);
  });

  test('ids that come as a variable count one by one', () => {
    const source = 'query($ids: [ID!]!) { nodes(ids: $ids) { id } }';
    expect(complexityOf(source, { ids: ['a', 'b', 'c', 'd'] })).toBe(1 + 4);
  });
});

describe('usage', () => {
  const USAGE = `query($from: DateTime!, $to: DateTime!, $interval: UsageInterval!, $groupBy: [UsageGroup!]! = []) {
    usage(from: $from, to: $to, interval: $interval, groupBy: $groupBy) { requests }
  }`;
  const from = '2026-01-01T00:00:00Z';

  test.each([
    ['each day of its range', { to: '2026-01-31T00:00:00Z', interval: 'DAY' }, 30],
    ['each hour of its range', { to: '2026-01-02T12:30:00Z', interval: 'HOUR' }, 37],
    ['groups, twice', { to: '2026-01-03T00:00:00Z', interval: 'DAY', groupBy: ['KEY'] }, 4],
    ['two kinds of groups', { to: '2026-01-03T00:00:00Z', interval: 'DAY', groupBy: ['KEY', 'MODEL'] }, 8],
    ['one group that is no list', { to: '2026-01-03T00:00:00Z', interval: 'DAY', groupBy: 'KEY' }, 4],
    ['no more than its longest range', { to: '2999-01-01T00:00:00Z', interval: 'DAY' }, 366],
    ['what is no range as one', { to: 'tomorrow', interval: 'DAY' }, 1],
  ])('counts %s', (_name, variables, entries) => {
    expect(complexityOf(USAGE, { from, ...variables })).toBe(1 + entries);
  });

  test('of a year is within the limit once, and not twenty times', () => {
    const year =
      'usage(from: "2025-01-01T00:00:00Z", to: "2026-01-01T00:00:00Z", interval: DAY, groupBy: [KEY, MODEL])';
    const fields = '{ requests totalMs { p99 } }';
    const { complexity } = DEFAULT_LIMITS.document;
    expect(complexityOf(`{ ${year} ${fields} }`)).toBeLessThan(complexity);
    const twenty = Array.from({ length: 20 }, (_, index) => `a${index}: ${year} ${fields}`).join(' ');
    expect(complexityOf(`{ ${twenty} }`)).toBeGreaterThan(complexity);
  });
});

describe('vectors', () => {
  const ask = (selection: string) =>
    `createEmbeddings(input: { model: "m", input: ["a"] }) { ... on Embeddings { data { ${selection} } } }`;
  const refusal = 'The operation selects vectors more than 4 times.';

  test('may be had in both forms of two lots of texts', () => {
    requireModest(parse(`mutation { a: ${ask('index vector base64')} b: ${ask('index vector base64')} }`));
  });

  test('are not to be had again and again, as each selection prints all of them', () => {
    const again = Array.from({ length: 5 }, (_, index) => `a${index}: vector`).join(' ');
    expect(() => requireModest(parse(`mutation { ${ask(again)} }`))).toThrow(refusal);
    const spread = `mutation { ${ask('a: vector ...F b: vector')} }
      fragment F on Embedding { ...G c: base64 } fragment G on Embedding { d: vector e: base64 }`;
    expect(() => requireModest(parse(spread))).toThrow(refusal);
  });
});

describe.each([
  ['aliases', (index: number) => `a${index}: __typename`],
  ['directives', () => '__typename @include(if: true)'],
] as const)('%s', (limit, field) => {
  const half = DEFAULT_LIMITS.document[limit] / 2;
  const fields = Array.from({ length: half + 1 }, (_, index) => field(index)).join(' ');
  const tree = `viewer { ${fields} }`;

  test('are those of each operation and fragment, not of the document', () => {
    requireModest(parse(`query A { ${tree} } query B { ${tree} } fragment F on Query { ${tree} }`));
  });

  test('of a fragment are those of whatever spreads it, too', () => {
    const spread = parse(`{ ${tree} ...F } fragment F on Query { ${tree} }`);
    expect(() => requireModest(spread)).toThrow(
      `An operation or a fragment has more than ${2 * half} ${limit}.`,
    );
  });
});
