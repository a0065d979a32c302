/** Documents and variables that cost a server more than they cost their sender, unless it takes care. */

export const times = (count: number, text: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => text(index)).join(' ');

export const nested = (levels: number): string =>
  levels === 1 ? '{ hello }' : `{ self ${nested(levels - 1)} }`;

const fragmentBomb = (levels: number) =>
  `{ ...F0 } ${times(levels, (i) => `fragment F${i} on Query { a: self { ...F${i + 1} } b: self { ...F${i + 1} } }`)} fragment F${levels} on Query { hello }`;

/** What it is, the document, and the codes and limits that it may be refused with. */
export const HOSTILE_DOCUMENTS: readonly (readonly [string, string, RegExp])[] = [
  ['10,000 aliases', `{ ${times(10_000, (i) => `a${i}: hello`)} }`, /DOCUMENT_TOO_COMPLEX/],
  ['10,000 directives', `{ hello ${times(10_000, () => '@x')} }`, /DOCUMENT_TOO_COMPLEX/],
  ['3,000 times the same field', `{ ${times(3000, () => 'hello')} }`, /DOCUMENT_TOO_COMPLEX/],
  ['a fragment bomb of 2^22 fields', fragmentBomb(22), /DOCUMENT_TOO_COMPLEX/],
  ['a fragment bomb of 2^60 fields', fragmentBomb(60), /DOCUMENT_TOO_COMPLEX/],
  [
    'a circle of fragments',
    '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
    /VALIDATION/,
  ],
  ['a fragment in itself', '{ ...A } fragment A on Query { self { ...A } }', /VALIDATION/],
  ['a deep selection', nested(600), /DOCUMENT_TOO_COMPLEX/],
  ['a deep list', `{ hello(name: ${'['.repeat(1990)}`, /DOCUMENT_TOO_COMPLEX|PARSE_FAILED/],
  ['a deep object', `{ hello(name: ${'{a:'.repeat(650)}`, /DOCUMENT_TOO_COMPLEX|PARSE_FAILED/],
  ['a deep type', `query($a: ${'['.repeat(1990)}`, /DOCUMENT_TOO_COMPLEX|PARSE_FAILED/],
  ['a megabyte of document', `{ hello(name: "${'x'.repeat(1_000_000)}") }`, /DOCUMENT_TOO_COMPLEX bytes/],
  ['many operations', times(600, (i) => `query Q${i}{hello}`), /DOCUMENT_TOO_COMPLEX|RESOLUTION/],
  ['many unknown fields', `{ ${times(490, (i) => `hallo${i}`)} }`, /DOCUMENT_TOO_COMPLEX|VALIDATION/],
];

const TAKE = JSON.stringify('mutation($i: Nested!) { take(input: $i) }');

/** What they are, the request's body, and the code that it is refused with. */
export const HOSTILE_VARIABLES: readonly (readonly [string, string, string])[] = (
  [
    ['deep', `${'{"i":'.repeat(5000)}1${'}'.repeat(5000)}`, 'BAD_REQUEST'],
    ['very deep', '['.repeat(500_000) + ']'.repeat(500_000), 'BAD_REQUEST'],
    ['wide', `[${'1,'.repeat(500_000)}1]`, 'BAD_REQUEST'],
    ['a megabyte in one name', `{"${'x'.repeat(1_000_000)}":1}`, 'BAD_USER_INPUT'],
  ] as const
).map(([name, value, code]) => [name, `{"query":${TAKE},"variables":{"i":${value}}}`, code]);

/** About the most that one accepted document can make the server do. */
export const COSTLY_DOCUMENT = '{ users(first: 3333) { edges { node { id } } } }';
